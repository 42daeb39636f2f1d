from capture import ID, Recorder, write
from pysnc import ServiceNowClient

parcel = {"to": "287ebd7da9fe198100f92cc8d1d2154e", "title": "Our apps are down", "text": "Do not deploy: åäö & \"more\""}
settings = {"url": "https://instance.service-now.com", "username": "loudhailer", "password": "example", "urgency": "1", "impact": "1"}
here = Recorder(201, {"result": {"sys_id": {"value": "c537bae64f411200adf9f8e18110c76e", "display_value": ""}, "number": {"value": "INC0010002", "display_value": ""}}}).redirect()
incident = ServiceNowClient(settings["url"], (settings["username"], settings["password"])).GlideRecord("incident")
incident.fields = ["sys_id", "number"]
incident.initialize()
incident.short_description = parcel["title"]
incident.description = parcel["text"]
incident.assignment_group = parcel["to"]
incident.urgency = settings["urgency"]
incident.impact = settings["impact"]
incident.correlation_id = ID
incident.insert()
write("servicenow", "pysnc", parcel, settings, here.request(keep=["accept"]), [
    ("/query/sysparm_display_value", "shapes the answer alone"),
    ("/query/sysparm_exclude_reference_link", "shapes the answer alone"),
    ("/query/sysparm_suppress_pagination_header", "shapes the answer alone"),
    ("/query/sysparm_fields", "only the two fields of the answer that are read"),
])
