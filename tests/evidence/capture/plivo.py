from capture import Recorder, callback, write
from plivo import RestClient

parcel = {"to": "+46700000000", "text": "We are back: åäö & \"more\""}
settings = {"auth_id": "MAEXAMPLE00000000000", "auth_token": "example-token", "from": "+15551234567"}
here = Recorder(202, {"api_id": "1", "message": "message(s) queued", "message_uuid": ["1"]}).redirect()
RestClient(settings["auth_id"], settings["auth_token"]).messages.create(
    src=settings["from"], dst=parcel["to"], text=parcel["text"], type_="sms", url=callback("plivo"), method="POST")
write("plivo", "plivo", parcel, settings, here.request(), [
    ("/body/log", "true is its default"),
    ("/body/trackable", "false is its default"),
])
