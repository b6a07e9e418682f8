from . import phone_number, reg_id, registrant
