from capture import ID, Recorder, write
from sendgrid import SendGridAPIClient
from sendgrid.helpers.mail import ClickTracking, Content, CustomArg, From, Header, Mail, OpenTracking, To, TrackingSettings

parcel = {"to": "alex@example.org", "title": "Our apps are coming back", "text": "Wait & try \"again\".", "unsubscribe_url": "https://status.example/u/abc"}
settings = {"token": "SG.example", "from": "status@acme.example", "from_name": "Acme"}
here = Recorder(202, "")
mail = Mail(From(settings["from"], settings["from_name"]), To(parcel["to"]), parcel["title"], Content("text/plain", parcel["text"]))
mail.add_header(Header("Auto-Submitted", "auto-generated"))
mail.add_header(Header("List-Unsubscribe", f"<{parcel['unsubscribe_url']}>"))
mail.add_custom_arg(CustomArg("delivery", ID))
mail.tracking_settings = TrackingSettings(click_tracking=ClickTracking(enable=False), open_tracking=OpenTracking(enable=False))
SendGridAPIClient(settings["token"], host=here.url).send(mail)
write("sendgrid", "sendgrid", parcel, settings, here.request())
