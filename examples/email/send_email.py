"""Sends the mail of each `send_email` task: variables `recipient`, `subject` and `text`."""

import os
import smtplib
import sys
from collections.abc import Mapping
from email.message import EmailMessage
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from careful import Answer, NotDone, Task, serve

TIMEOUT_SECONDS = 60
MANY = 50  # recipients; a server may take a while for them


def message_of(task: Task) -> EmailMessage:
    """Makes the mail; KeyError where the task does not say to whom."""
    mail = EmailMessage()
    mail["From"] = os.environ.get("SMTP_FROM", "process@example.com")
    mail["To"] = str(task.variables["recipient"])
    mail["Subject"] = str(task.variables.get("subject", "A message of your process"))
    mail["Message-ID"] = f"<{task.id}@camunda>"  # a second copy, should there ever be one, is the same mail
    mail.set_content(str(task.variables.get("text", "")))
    return mail


def send_email(task: Task) -> Answer:
    """Hands the mail of a task to the server."""
    if "recipient" not in task.variables:
        raise NotDone("failure", "the variable recipient is missing", retries=0)
    mail = message_of(task)
    if str(mail["To"]).count(",") >= MANY:
        task.extend_lock(1_800_000)
    host, port = os.environ["SMTP_HOST"], int(os.environ.get("SMTP_PORT", "25"))
    try:
        with smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS) as server:
            refused = server.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        raise verdict(error.recipients) from error
    except smtplib.SMTPResponseException as error:
        raise verdict({"the server": (error.smtp_code, error.smtp_error)}) from error
    except OSError as error:
        raise NotDone("failure", f"the mail server does not answer: {error}", retry_timeout=60_000) from error
    return {"email_sent": True, "email_id": mail["Message-ID"], "email_refused": sorted(refused)}


def verdict(refused: Mapping[str, tuple[int, bytes | str]]) -> NotDone:
    """A code from 500 on says: never try this again, a person must look; one from 400 on: later."""
    why = "; ".join(f"{who}: {code} {text!r}" for who, (code, text) in refused.items())
    if all(code >= 500 for code, _ in refused.values()):
        return NotDone("failure", why, retries=0)
    return NotDone("failure", why, retry_timeout=300_000)


if __name__ == "__main__":
    serve("python-services.queue", {"send_email": send_email})
