"""Reads objects of Kubernetes as YAML, prints each with what the schema of its kind says against it, as JSON."""

import json
import sys

import kubernetes_validate
import yaml


def wrong(document):
    try:
        kubernetes_validate.validate(document, "1.37", strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        return None
    except kubernetes_validate.ValidationError as error:
        return str(error)
    return ""


documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
print(json.dumps([{"object": document, "wrong": wrong(document)} for document in documents], default=str))
