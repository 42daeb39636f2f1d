from capture import ID, Recorder, write
from pagerduty import EventsApiV2Client

parcel = {"to": "e93facc04764012d7bfb002500d5d1a6", "title": "Our apps are down", "text": "Do not deploy: åäö & \"more\""}
settings = {"severity": "critical", "source": "Loudhailer"}
here = Recorder(202, {"status": "success", "message": "Event processed", "dedup_key": ID}).redirect()
EventsApiV2Client(parcel["to"]).trigger(parcel["title"], settings["source"], dedup_key=ID, severity=settings["severity"], custom_details={"message": parcel["text"]})
write("pagerduty", "pagerduty", parcel, settings, here.request())
