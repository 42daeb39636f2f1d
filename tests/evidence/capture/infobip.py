from capture import ID, Recorder, callback, write
from infobip_api_client import ApiClient, Configuration, SmsDestination, SmsMessage, SmsMessageContent, SmsMessageDeliveryReporting, SmsRequest, SmsTextContent, SmsWebhooks
from infobip_api_client.api.sms_api import SmsApi

parcel = {"to": "+46700000000", "text": "We are back: åäö & \"more\""}
settings = {"url": "https://xyz12.api.infobip.com", "api_key": "example-key", "from": "ALERT"}
here = Recorder(200, {"messages": []})
configuration = Configuration(host=here.url, api_key={"APIKeyHeader": settings["api_key"]}, api_key_prefix={"APIKeyHeader": "App"})
SmsApi(ApiClient(configuration)).send_sms_messages(SmsRequest(messages=[SmsMessage(
    sender=settings["from"], destinations=[SmsDestination(to=parcel["to"])],
    content=SmsMessageContent(SmsTextContent(text=parcel["text"])),
    webhooks=SmsWebhooks(delivery=SmsMessageDeliveryReporting(url=callback("infobip")), content_type="application/json", callback_data=ID))]))
write("infobip", "infobip-api-python-client", parcel, settings, here.request(keep=["accept"]))
