from capture import Recorder, write
import africastalking

parcel = {"to": "+254700000000", "text": "We are back: åäö & more"}
settings = {"username": "acme", "api_key": "example-key", "from": "ALERT"}
here = Recorder(201, {"SMSMessageData": {"Message": "Sent to 1/1", "Recipients": []}}).redirect()
africastalking.initialize(settings["username"], settings["api_key"])
africastalking.SMS.send(parcel["text"], [parcel["to"]], settings["from"])
write("africastalking", "africastalking", parcel, settings, here.request(keep=["accept", "apikey"]), [
    ("/body/bulkSMSMode", "1, that the sender pays, is its default"),
])
