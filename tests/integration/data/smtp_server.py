"""An SMTP server on a free port. Prints `port N`, then `mail JSON` for each mail, parsed by Python's own parser."""

import asyncio
import email
import email.policy
import json
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Handler:
    refused = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("busy@") and Handler.refused == 0:
            Handler.refused += 1
            return "451 4.3.0 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        body = lambda kind: mail.get_body((kind,)).get_content()
        print("mail " + json.dumps({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "login": session.auth_data.decode() if session.auth_data else None,
            "headers": [[name, str(value)] for name, value in mail.items()],
            "subject": mail["subject"],
            "text": body("plain"),
            "html": body("html"),
        }), flush=True)
        return "250 2.0.0 taken"


def authenticate(server, session, envelope, mechanism, data):
    if not isinstance(data, LoginPassword):
        return AuthResult(success=False, handled=False)
    good = data.login == b"hw" and data.password == b"sesame"
    return AuthResult(success=good, handled=False, auth_data=data.login)


async def main():
    make = lambda: SMTP(
        Handler(), hostname="localhost", authenticator=authenticate, auth_require_tls=False,
        auth_required="auth" in sys.argv,
    )
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
