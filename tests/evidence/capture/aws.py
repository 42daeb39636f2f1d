"""What both files of AWS share: botocore at the recorder, at one moment."""
import datetime
import boto3, botocore.auth, botocore.httpsession
from capture import Recorder

AT = "2015-08-30T12:36:00Z"
KEY = {"key_id": "AKIDEXAMPLE", "secret": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "region": "eu-west-1"}
# What says who made the request, and how often it was tried, and no more.
ALSO = ["x-amz-date"]


def client(service, here):
    now = datetime.datetime(2015, 8, 30, 12, 36)
    botocore.auth.get_current_datetime = lambda remove_tzinfo=True: now
    send = botocore.httpsession.URLLib3Session.send

    def to_here(session, request):
        scheme, rest = request.url.split("://")
        host, path = rest.split("/", 1)
        here.origin = f"{scheme}://{host}"
        request.url = f"{here.url}/{path}"
        return send(session, request)

    botocore.httpsession.URLLib3Session.send = to_here
    return boto3.client(service, region_name=KEY["region"], aws_access_key_id=KEY["key_id"], aws_secret_access_key=KEY["secret"])
