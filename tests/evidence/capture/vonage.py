from capture import ID, Recorder, callback, write
from vonage import Auth, Vonage
from vonage_messages import Sms

parcel = {"to": "+46700000000", "text": "We are back: åäö & \"more\""}
settings = {"api_key": "abcd1234", "api_secret": "example-secret-1", "from": "15551234567"}
here = Recorder(202, {"message_uuid": "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab"}).redirect()
client = Vonage(Auth(api_key=settings["api_key"], api_secret=settings["api_secret"]))
client.messages.send(Sms(to=parcel["to"].removeprefix("+"), from_=settings["from"], text=parcel["text"], client_ref=ID,
                         webhook_url=callback("vonage"), webhook_version="v1"))
write("vonage", "vonage", parcel, settings, here.request())
