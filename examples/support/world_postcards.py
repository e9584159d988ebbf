"""The second world's shift: guests ask for postcards, in the first person, and owners tell of what is new there."""

from examples.support.world_texts import Style

NEW_FACTS = {
    "pets": ("dogs", "cats", "ponies", "rabbits"),
    "charger": ("an electric car", "two scooters", "a campervan"),
    "breakfast": ("fresh rolls", "smoked trout", "oat porridge", "plum jam"),
    "view": ("the old mill", "the dunes", "the vineyards", "the glacier"),
}
"""What nobody told of before, with its values."""
POSTCARD = Style(
    openings=(
        "Greetings from {name} in {town}",
        "Dear all, we made it to {name}, {town}",
        "Hello from lovely {town} where {name} spoils us",
        "Our week at {name} near {town} flies by",
    ),
    wordings={
        "beds": ("all {} of us slept like stones", "we were {} and nobody shared a pillow", "we filled {} bunks"),
        "price": ("we paid {} crowns per evening", "they charged us {} crowns daily", "{} crowns each day was fair"),
        "season": ("what a {} we had", "everyone should come this {}", "the {} weather was a dream"),
        "extra": ("we never tired of {}", "having {} was pure joy", "the children adored {}"),
        "near": ("every morning we strolled to {}", "we picnicked by {}", "our path led past {}"),
        "pets": ("our {} came along too", "even {} were welcome", "we met many {} on the lawn"),
        "charger": ("we could charge {} overnight", "there was a plug for {}", "power for {} was free"),
        "breakfast": ("we woke up to {}", "they served us {}", "{} waited on the doorstep"),
        "view": ("our window showed {}", "at dusk we gazed at {}", "we painted {}"),
    },
    end="!",
)
