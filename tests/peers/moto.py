"""Makes the key that the tests sign with, and switches on the check of signatures. Prints its id and its secret."""
import json, sys, urllib.request
import boto3

at = sys.argv[1]
nobody = {"endpoint_url": at, "region_name": "eu-west-1", "aws_access_key_id": "none", "aws_secret_access_key": "none"}
iam = boto3.client("iam", **nobody)
iam.create_user(UserName="loudhailer")
may = [{"Effect": "Allow", "Action": ["sns:Publish", "ses:SendEmail"], "Resource": "*"}]
iam.put_user_policy(UserName="loudhailer", PolicyName="send", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": may}))
key = iam.create_access_key(UserName="loudhailer")["AccessKey"]
boto3.client("sesv2", **nobody).create_email_identity(EmailIdentity="example.org")
plain = {"content-type": "text/plain"}
urllib.request.urlopen(urllib.request.Request(f"{at}/moto-api/reset-auth", data=b"0", method="POST", headers=plain)).read()
print(key["AccessKeyId"], key["SecretAccessKey"])
