"""The demo's shift: the shop starts to sell the Nestora hub, with new questions and new words."""

SHIFT_SLOTS: dict[str, list[str]] = {
    "hub": ["nestora", "nestora hub", "the hub", "my nestora", "hub mini", "nestora mini", "the nestora box"],
    "thing": [
        "bulbs",
        "thermostat",
        "door lock",
        "blinds",
        "motion sensor",
        "doorbell",
        "leak sensor",
        "plugs",
        "garage door",
        "smoke alarm",
        "lamp strip",
        "radiator valve",
    ],
    "light": ["blinking red", "solid orange", "blinking blue", "completely dark", "flashing white"],
    "room": ["kitchen", "hallway", "bedroom", "cellar", "garage", "living room", "attic", "porch"],
    "moment": ["sunset", "10 pm", "6 am", "when i leave", "when i come home", "midnight", "every tuesday"],
    "tier": ["nestora care", "hub membership", "guard tier", "care bundle", "hub pass"],
}

NEW_INTENTS: dict[str, list[str]] = {
    "pairing_problem": [
        "{hub} will not find the {thing}",
        "cannot pair the {thing} with {hub}",
        "how do i add the {thing} in the {room} to {hub}",
        "pairing mode on {hub} times out",
        "{thing} show up in {hub} but never connect",
        "scanned the qr on the {thing} and {hub} ignores it",
        "second {hub} does not see the {thing} from the {room}",
    ],
    "hub_offline": [
        "{hub} is {light} in the {room}",
        "{hub} drops off the wifi every night",
        "{hub} went offline and took the {thing} with it",
        "ring on {hub} stays {light}",
        "no signal from {hub} since the firmware came",
        "{hub} reboots on its own at {moment}",
        "{hub} shows {light} and nothing in the {room} answers",
    ],
    "automation_help": [
        "my routine to switch the {thing} at {moment} never runs",
        "make {hub} close the {thing} at {moment}",
        "scene for the {room} fires twice",
        "how do i build a routine for the {thing} in the {room}",
        "{hub} starts the {room} scene although nobody is there",
        "schedule for the {thing} is off by an hour",
        "can a routine start the {thing} at {moment} only on weekdays",
    ],
    "voice_privacy": [
        "does {hub} listen all the time",
        "wipe the voice clips {hub} kept from the {room}",
        "who can see the {room} camera feed of {hub}",
        "switch off the microphone of {hub}",
        "where does {hub} store the footage of the {thing}",
        "i want an export of everything {hub} knows about the {room}",
        "stop {hub} from sharing data about the {thing}",
    ],
}

OLD_INTENTS_NEW_WORDS: dict[str, list[str]] = {
    "refund_request": [
        "{hub} is a let down, reimburse me",
        "give back what i paid for {hub} and the {thing}",
        "reimbursement for the {tier} still outstanding",
    ],
    "charge_dispute": [
        "{tier} shows up on my statement and nobody signed up for it",
        "unauthorized debit for {hub}, reverse it",
        "statement lists the {tier} two times",
    ],
    "billing_question": [
        "what exactly does the {tier} cost after the trial",
        "statement mentions {hub} surcharge, clarify",
        "break down what the {tier} adds up to",
    ],
    "cancel_subscription": [
        "get me out of the {tier}",
        "terminate the {tier}, {hub} stays in the drawer",
        "opt me out before the {tier} rolls over",
    ],
    "change_plan": [
        "swap my {tier} for the {tier}",
        "put the {room} hub on the {tier} as well",
        "bigger {tier} for more {thing}",
    ],
    "login_problem": [
        "{hub} app bounces me back to the welcome screen",
        "passkey for {hub} is not accepted",
        "face unlock lets me nowhere in the nestora app",
    ],
    "delivery_status": [
        "preordered {hub} and heard nothing",
        "eta for {hub} plus {thing} bundle",
        "parcel locker is empty, no {hub}",
    ],
    "damaged_item": [
        "{hub} smells burnt and hums",
        "{thing} bracket for {hub} snapped clean off",
        "dead pixel ring on {hub} out of the box",
    ],
    "return_item": [
        "want to hand {hub} back at a store",
        "dropping the {thing} bundle off, which form",
        "trade {hub} in for the mini",
    ],
    "update_address": [
        "{hub} ships to my old flat, redirect it",
        "moved house, register {hub} at the new place",
        "forward the {thing} bundle to my parents",
    ],
}
