import firebase_admin
from capture import Recorder, write
from firebase_admin import credentials, messaging
from google.oauth2.credentials import Credentials


class Example(credentials.Base):
    """In place of a service account, whose token would come from elsewhere."""

    def get_credential(self):
        return Credentials("t")


parcel = {"to": "bk3RNwTe3H0:CI2k_HHwgIpoDKCIZvvDMExUdFQ3P1", "title": "Our apps are coming back", "text": "Wait & try again: åäö."}
settings = {"project_id": "acme-status", "client_email": "push@acme-status.iam.gserviceaccount.com", "private_key": "not used here"}
here = Recorder(200, {"name": "projects/acme-status/messages/1"}).redirect()
firebase_admin.initialize_app(Example(), {"projectId": settings["project_id"]})
messaging.send(messaging.Message(token=parcel["to"], notification=messaging.Notification(title=parcel["title"], body=parcel["text"])))
write("fcm", "firebase_admin", parcel, settings, here.request(), [
    ("/headers/authorization", "ours is put in by the driver, once it has been given a token")])
