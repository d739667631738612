"""Reporting: messages, the outbox that never loses one, and the only MQTT file."""
