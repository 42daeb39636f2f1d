from capture import ID, Recorder, write
from opsgenie_sdk import AlertApi, ApiClient, Configuration, CreateAlertPayload

parcel = {"to": "NetOps", "title": "Our apps are down", "text": "Do not deploy: åäö & \"more\""}
settings = {"api_key": "eb243592-example", "priority": "P1"}
here = Recorder(202, {"result": "Request will be processed", "took": 0.302, "requestId": "43a29c5c-3dbf-4fa4-9c26-f4f71023e120"})
configuration = Configuration()
configuration.host = here.url
configuration.api_key = {"Authorization": settings["api_key"]}
configuration.api_key_prefix = {"Authorization": "GenieKey"}
AlertApi(ApiClient(configuration)).create_alert(CreateAlertPayload(
    message=parcel["title"], alias=ID, description=parcel["text"], priority=settings["priority"], responders=[{"type": "team", "name": parcel["to"]}]))
write("opsgenie", "opsgenie-sdk", parcel, settings, here.request())
