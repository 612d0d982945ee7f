"""The PLC by Modbus/TCP: the station is the server, the PLC polls (`docs/modbus.md`)."""
