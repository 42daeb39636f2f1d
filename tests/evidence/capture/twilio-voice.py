from capture import Recorder, callback, write
from twilio.rest import Client
from twilio.twiml.voice_response import VoiceResponse

parcel = {"to": "+46700000000", "text": "This is Acme. Bread & butter < all > is back."}
settings = {"account_sid": "AC00000000000000000000000000000000", "auth_token": "12345example", "from": "+15551234567"}
here = Recorder(201, {"sid": "CA00000000000000000000000000000001"}).redirect()
said = VoiceResponse()
said.say(parcel["text"], language="en-US")
Client(settings["account_sid"], settings["auth_token"]).calls.create(
    to=parcel["to"], from_=settings["from"], twiml=said.to_xml(xml_declaration=False), status_callback=callback("twilio-voice"),
    status_callback_event=["completed"])
write("twilio-voice", "twilio", parcel, settings, here.request())
