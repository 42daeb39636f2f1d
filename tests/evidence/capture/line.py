from capture import ID, Recorder, write
from linebot.v3.messaging import ApiClient, Configuration, MessagingApi, PushMessageRequest, TextMessage

parcel = {"to": "U4af4980629aaaaaaaaaaaaaaaaaaaaaa", "text": "We are back: åäö & \"more\""}
settings = {"token": "example-token"}
here = Recorder(200, {"sentMessages": [{"id": "461230966842064897"}]})
api = MessagingApi(ApiClient(Configuration(host=here.url, access_token=settings["token"])))
api.push_message(PushMessageRequest(to=parcel["to"], messages=[TextMessage(text=parcel["text"])]))
write("line", "line-bot-sdk", parcel, settings, here.request(keep=["x-line-retry-key"]), [
    ("/body/notificationDisabled", "false is its default"),
])
