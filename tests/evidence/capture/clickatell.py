import httplib2
from capture import Recorder, write
from clickatell.rest import Rest

parcel = {"to": "+46700000000", "text": "We are back: åäö & \"more\""}
settings = {"key": "example-key==", "from": "15551234567"}
here = Recorder(202, {"messages": [{"apiMessageId": "1", "accepted": True, "to": "46700000000", "error": ""}], "error": ""})
here.origin = "https://platform.clickatell.com"
request = httplib2.Http.request


def to_here(http, url, *arguments, **named):
    return request(http, url.replace(here.origin, here.url), *arguments, **named)


httplib2.Http.request = to_here
Rest(settings["key"]).sendMessage([parcel["to"].lstrip("+")], parcel["text"], {"from": settings["from"]})
write("clickatell", "clickatell-platform", parcel, settings, here.request(keep=["accept"]), [])
