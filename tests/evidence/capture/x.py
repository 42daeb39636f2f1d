from capture import Recorder, write
from xdk import Client
from xdk.oauth1_auth import OAuth1
from xdk.posts.models import CreateRequest

parcel = {"to": "public", "text": "We are back: åäö & \"more\""}
settings = {"consumer_key": "xvz1evFS4wEEPTGEFPHBog", "consumer_secret": "example-consumer-secret", "access_token": "370773112-GmHx", "access_secret": "example-access-secret"}
here = Recorder(201, {"data": {"id": "1445880548472328192", "text": parcel["text"]}}).redirect()
auth = OAuth1(settings["consumer_key"], settings["consumer_secret"], "oob", settings["access_token"], settings["access_secret"])
Client(auth=auth).posts.create(CreateRequest(text=parcel["text"]))
write("x", "xdk", parcel, settings, here.request(), [
    ("/headers/authorization", "another time and nonce at each try; its own tests hold it to a known signature")])
