"""Names by which the simulated phone is known to `adb`, and where its files lie."""

SERIAL = "autoglm-phone"
MODEL = "autoglm_phone"
STORAGE = "storage"  # folder with the files on the phone
