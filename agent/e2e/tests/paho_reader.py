"""Reads the feed with the Paho client over mutual TLS and prints what comes:
topic, retain flag, payload in hex."""

import sys

import paho.mqtt.client as mqtt

port, ca, certificate, key = sys.argv[1:]


def connected(client, userdata, flags, reason, properties):
    client.subscribe("rackmark/v1/#", qos=1)


def came(client, userdata, message):
    print(message.topic, int(message.retain), message.payload.hex(), flush=True)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
client.tls_set(ca_certs=ca, certfile=certificate, keyfile=key)
client.on_connect = connected
client.on_message = came
client.connect("localhost", int(port))
client.loop_forever()
