import aws
from capture import Recorder, write

parcel = {"to": "+46700000000", "text": "We are back: åäö & more", "at": aws.AT}
settings = aws.KEY | {"url": "https://sns.eu-west-1.amazonaws.com"}
here = Recorder(200, '<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>')
aws.client("sns", here).publish(PhoneNumber=parcel["to"], Message=parcel["text"], MessageAttributes={
    "AWS.SNS.SMS.SMSType": {"DataType": "String", "StringValue": "Transactional"}})
write("aws-sns", "boto3", parcel, settings, here.request(aws.ALSO), [
    ("/headers/authorization", "signs the same fields in another order; its own tests hold it to AWS's published vectors")])
