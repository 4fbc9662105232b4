"""Users of a cluster who are no administrators."""

import arvados

from tests.support.cluster import RunningCluster

__all__ = ["Person"]


class Person:
    """A user with a token.

    uuid, token: of the user
    api: a client of theirs
    """

    def __init__(self, cluster: RunningCluster, name: str) -> None:
        admin = cluster.api()
        body = {"email": f"{name}@example.com", "first_name": name.title(), "last_name": "Tester"}
        user = admin.users().create(body={"user": {**body, "is_active": True}}).execute()
        token = admin.api_client_authorizations().create(
            body={"api_client_authorization": {"owner_uuid": user["uuid"]}}
        ).execute()  # fmt: skip
        self.uuid = user["uuid"]
        self.token = f"v2/{token['uuid']}/{token['api_token']}"
        host = cluster.env["ARVADOS_API_HOST"]
        self.api = arvados.api("v1", host=host, token=self.token, insecure=True, num_retries=0)
