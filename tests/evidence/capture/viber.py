from capture import Recorder, write
from viberbot import Api
from viberbot.api.bot_configuration import BotConfiguration
from viberbot.api.messages.text_message import TextMessage

parcel = {"to": "01234567890A=", "text": "We are back: åäö & \"more\""}
settings = {"token": "445da6az1s345z78-example", "name": "Acme Status"}
here = Recorder(200, {"status": 0, "status_message": "ok", "message_token": 4912661846655238145}).redirect()
Api(BotConfiguration(auth_token=settings["token"], name=settings["name"], avatar=None)).send_messages(parcel["to"], TextMessage(text=parcel["text"]))
write("viber", "viberbot", parcel, settings, here.request(keep=["x-viber-auth-token"]), [
    ("/body/auth_token", "the documentation has the token in the header X-Viber-Auth-Token; the SDK still has it in the body"),
    ("/headers/x-viber-auth-token", "the same, on our side"),
    ("/body/sender/avatar", "null is as absent"),
    ("/headers/content-type", "the SDK sends its JSON without a type"),
])
