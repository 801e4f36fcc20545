"""Keys of access to buckets for readers that are not boto3, found as boto3 finds them."""

from urllib.parse import parse_qs, urlsplit

from headrace.components.errors import ServiceError
from headrace.components.sources.s3_access import S3Access


def s3_access(address: str) -> S3Access:
    """Endpoint, region and keys for an address `s3://bucket/key`, with `?endpoint_url=` where it is not Amazon's.

    Raises ServiceError where the environment and boto3's own files have no keys.
    """
    import boto3

    endpoint = parse_qs(urlsplit(address).query).get("endpoint_url", [None])[0]
    session = boto3.Session()
    credentials = session.get_credentials()
    keys = None if credentials is None else credentials.get_frozen_credentials()
    if keys is None or not keys.access_key or not keys.secret_key:
        raise ServiceError(f"no keys for {address}: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    client = session.client("s3", endpoint_url=endpoint, region_name=session.region_name or "us-east-1")
    return S3Access(client.meta.endpoint_url, client.meta.region_name, keys.access_key, keys.secret_key, keys.token)
