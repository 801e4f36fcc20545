"""What Airflow reads about this package: the connection type "Ray"."""

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """The description that Airflow reads from the entry point `apache_airflow_provider`; loads nothing."""
    verify = {"type": ["boolean", "string", "null"], "default": True}
    return {
        "package-name": "headrace",
        "name": "Headrace",
        "description": "Submits trainings to Ray once, follows them and stops them.",
        "connection-types": [
            {
                "connection-type": "ray",
                "hook-class-name": "headrace.pipelines.airflow.connection.RayHook",
                "hook-name": "Ray",
                "conn-fields": {
                    "verify": {"label": "Verify TLS (true, false or a path)", "schema": verify},
                    "allow_open": {
                        "label": "Accept a cluster without authentication",
                        "schema": {"type": ["boolean", "null"], "default": False},
                    },
                },
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "login"],
                    "relabeling": {"host": "Address of the job server", "password": "Token"},
                    "placeholders": {"host": "https://ray.example.org", "port": "8265"},
                },
            }
        ],
    }
