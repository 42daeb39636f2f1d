import aws
from capture import Recorder, write

parcel = {"to": "alex@example.org", "title": "Down: web", "text": "We are back: åäö & more", "html": "<p>We are back</p>", "at": aws.AT}
settings = aws.KEY | {"from": "Acme <status@example.org>", "url": "https://email.eu-west-1.amazonaws.com"}
here = Recorder(200, {"MessageId": "1"})
data = lambda text: {"Data": text, "Charset": "UTF-8"}
aws.client("sesv2", here).send_email(
    FromEmailAddress=settings["from"], Destination={"ToAddresses": [parcel["to"]]},
    Content={"Simple": {"Subject": data(parcel["title"]), "Body": {"Text": data(parcel["text"]), "Html": data(parcel["html"])},
                        "Headers": [{"Name": "Auto-Submitted", "Value": "auto-generated"}]}})
write("amazon-ses", "boto3", parcel, settings, here.request(aws.ALSO), [
    ("/headers/authorization", "signs the same fields in another order; its own tests hold it to AWS's published vectors")])
