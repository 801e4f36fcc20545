-- Two databases, so that a backup or an upgrade of one leaves the other alone. Run by PostgreSQL's first start.
CREATE DATABASE airflow;
CREATE DATABASE mlflow;
