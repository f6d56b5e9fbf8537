"""Sentences that name images: what they become when images move, and which are refused."""

import pytest

from shared.permutation import apply_order, read, refusal
from shared.sample import IMAGE_TAG, Sample


def sample(text: str, images: int = 3, **fields: object) -> Sample:
    """An invariant question with `images` images before `text`, unless `text` has the tags."""
    question = text if IMAGE_TAG in text else IMAGE_TAG * images + "\n" + text
    count = question.count(IMAGE_TAG)
    names = tuple("abcdefgh"[:count])
    row = {"id": "s", "question": question, "images": names, "answer": "x", "kind": "text"}
    return Sample.model_validate({**row, "order": "invariant", **fields})


# Three images in order (2, 0, 1): image 1 is shown second, image 2 third, image 3 first.
MOVED = [
    ("What is in image 1?", "What is in image 2?"),
    ("What is in Image #2?", "What is in Image #3?"),
    ("Look at picture 3.", "Look at picture 1."),
    ("See Figure 3 and Fig. 1.", "See Figure 1 and Fig. 2."),
    ("Figure (1) shows a cat.", "Figure (2) shows a cat."),
    ("Describe fig. 3.", "Describe fig. 1."),
    ("Is Picture B brighter?", "Is Picture C brighter?"),
    ("What is in image A?", "What is in image B?"),
    ("Compare images 1 and 3.", "Compare images 2 and 1."),
    ("Do images 1, 2 and 3 match?", "Do images 2, 3 and 1 match?"),
    ("Do images 1, 2, or 3 match?", "Do images 2, 3, or 1 match?"),
    ("Figs. 1 & 2 are alike.", "Figs. 2 & 3 are alike."),
    ("Compare image 1 and image 2.", "Compare image 2 and image 3."),
    ("Image number 2 is dark.", "Image number 3 is dark."),
    ("Image no. 2 is dark.", "Image no. 3 is dark."),
    ("image_2 and image-3", "image_3 and image-1"),
    ("Is (image 1) a cat?", "Is (image 2) a cat?"),
    ("Point P of Figure 1(a)", "Point P of Figure 2(a)"),
    ("The photo 2's sky", "The photo 3's sky"),
    ("What is in image two?", "What is in image three?"),
    ("What is in image one?", "What is in image two?"),
    ("What is in image number one?", "What is in image number two?"),
    ("Is the man in image 1 with 2 dogs?", "Is the man in image 2 with 2 dogs?"),
    ("In image 1, 2 dogs are seen.", "In image 2, 2 dogs are seen."),
    ("Compare images one and three.", "Compare images two and one."),
    ("Is image one as dark as image three?", "Is image two as dark as image one?"),
    ("Figs. 1, 2 & 3 are alike.", "Figs. 2, 3 & 1 are alike."),
    ("Fig. 1, 2 & 3 are alike.", "Fig. 2, 3 & 1 are alike."),
    ("Is the second picture a cat?", "Is the third picture a cat?"),
    ("The First image is red.", "The Second image is red."),
    ("THE FIRST IMAGE", "THE SECOND IMAGE"),
    ("First image: what is it?", "Second image: what is it?"),
    ("Is the 2nd photo darker?", "Is the 3rd photo darker?"),
    ("Is the 3rd photo darker?", "Is the 1st photo darker?"),
    ("the last photo", "the first photo"),
    ("the middle image", "the third image"),
    ("the second input image", "the third input image"),
    ("the first and third images", "the second and first images"),
    ("the first or the second image", "the second or the third image"),
    ("The second of the three images is red.", "The third of the three images is red."),
    ("The first of these pictures", "The second of these pictures"),
    ("Is the first image darker than the second?", "Is the second image darker than the third?"),
    (
        "Is the third image as dark as the first one?",
        "Is the first image as dark as the second one?",
    ),
    (
        "Which? (A) the first image (B) the third image",
        "Which? (A) the second image (B) the first image",
    ),
    ("Which is it?\nA. Image 1\nB. Image 2", "Which is it?\nA. Image 2\nB. Image 3"),
    ("Which order?\nA. 1-3-2\nB. 3-1-2", "Which order?\nA. 2-1-3\nB. 1-2-3"),
    (
        "Find the right order: (A) 1, 3, 2 (B) 3, 1, 2",
        "Find the right order: (A) 2, 1, 3 (B) 1, 2, 3",
    ),
    ("图1中有几只猫？", "图2中有几只猫？"),
    ("比较图片2和图片3。", "比较图片3和图片1。"),
    ("图1和3一样吗？", "图2和1一样吗？"),
    ("第二张图是什么？", "第三张图是什么？"),
    ("第1张图片是什么？", "第2张图片是什么？"),
    ("最后一张图是什么？", "第一张图是什么？"),
    ("图一与图二", "图二与图三"),
    ("图①是什么", "图②是什么"),
    (
        "Image 1: <image>\nImage 2: <image>\nImage 3: <image>\nIs Image 1 red?",
        "Image 1: <image>\nImage 2: <image>\nImage 3: <image>\nIs Image 2 red?",
    ),
    (
        "Panel A: <image> Panel B: <image> Panel C: <image> Is panel A red?",
        "Panel A: <image> Panel B: <image> Panel C: <image> Is panel B red?",
    ),
    (
        "<image>\nFigure 1\n<image>\nFigure 2\n<image>\nFigure 3\nIs it as in Figure 3?",
        "<image>\nFigure 1\n<image>\nFigure 2\n<image>\nFigure 3\nIs it as in Figure 1?",
    ),
    (
        "图1：<image>\n图2：<image>\n图3：<image>\n图3是什么？",
        "图1：<image>\n图2：<image>\n图3：<image>\n图1是什么？",
    ),
]

# Two images that change places.
SWAPPED = [
    ("The left image has twice as many dogs as the right image.",
     "The right image has twice as many dogs as the left image."),
    ("Two dogs are in the image on the left.", "Two dogs are in the image on the right."),
    ("The left image has more than the right.", "The right image has more than the left."),
    ("The left image has more dogs than the one on the right.",
     "The right image has more dogs than the one on the left."),
    ("The left and right images show cats.", "The right and left images show cats."),
    ("There is a cat in the right-hand picture.", "There is a cat in the left-hand picture."),
    ("The leftmost image is red.", "The rightmost image is red."),
    ("Left image: what is it?", "Right image: what is it?"),
    ("The left image has a cat on the left side.", "The right image has a cat on the left side."),
    ("The last image is red.", "The first image is red."),
    ("左图比右图亮吗？", "右图比左图亮吗？"),
    ("左边的图片是什么？", "右边的图片是什么？"),
]  # fmt: skip

UNTOUCHED = [
    "Is the left dog bigger?",
    "What is on the left side of the image?",
    "First, look at both pictures.",
    "How is the image quality?",
    "There are 2 images.",
    "Is it the first time?",
    "Is the sum of the three images even?",
    "Which of the two is darker, first or second or third?",
    "Does any picture show the second floor?",
    "Are all images a photo of a cat?",
    "Which image is the first choice of most people?",
    "Look at each image 2 times.",
    "In the image a dog is seen.",
    "Which image comes first?",
    "Which picture shows second place?",
    "Is option 2 right?",
    "Is each image one of a cat?",
    "Is the image one sees first red?",
    "Which image one of them took is red?",
    "An image 640x480 in size",
    "Do images 1-3 show cats?",
    "Do the first three images show cats?",
    "In the image I see a dog.",
    "Which picture\nA. cat\nB. dog",
    "Is the X-ray image sharp?",
    "Is this an image A4 in size?",
    "Are the following images alike?",
    "Answer with A, B or C.",
    "Does the dog look to the right?",
    "Is vitamin C shown?",
    "Does the camera move left or right? (A) left (B) right",
    "如图所示，求面积。",
    "如下图所示，求面积。",
    "以上图片中有几只猫？",
    "第三个问题：有几只猫？",
    "两张图一样吗？",
    "左边的狗是什么颜色？",
]

REFUSED = [
    ("What is in the image on the left of the second one?", "place_relative_to_another_image"),
    ("What changed since the previous image?", "place_relative_to_another_image"),
    ("What is in the next picture?", "place_relative_to_another_image"),
    ("Compare the before image and the after image.", "place_relative_to_another_image"),
    ("What is the image between the first and third images?", "place_relative_to_another_image"),
    ("What is in the image after image 1?", "place_relative_to_another_image"),
    ("Is the latter image darker?", "former_or_latter"),
    ("Do the first two images show a cat?", "set_of_images"),
    ("Look at the last two photos.", "set_of_images"),
    ("Do images 1-2 show cats?", "set_of_images"),
    ("Do images 2 to 3 show cats?", "set_of_images"),
    ("Is image 4 red?", "names_an_image_that_is_not_there"),
    ("Is the fifth image red?", "names_an_image_that_is_not_there"),
    ("Is the left image red?", "left_or_right_of_more_than_two"),
    ("Is the top image red?", "place_of_another_layout"),
    ("Is the second one red?", "unclear_place"),
    ("Is the first or the second red?", "unclear_place"),
    ("Is the second red?", "unclear_place"),
    ("Look at the first image. Is the second red?", "unclear_place"),
    ("The first image is from the second shelf.", "unclear_place"),
    ("Is a second image needed?", "unclear_place"),
    ("Is the second candidate image red?", "unclear_place"),
    ("Is the second-to-last image red?", "unclear_place"),
    ("Is the penultimate image red?", "unclear_place"),
    ("Is the last but one picture red?", "unclear_place"),
    ("Is the image in the second position red?", "unclear_place"),
    ("Is the image at position 2 red?", "unclear_place"),
    ("Is the image shown second red?", "unclear_place"),
    ("Is the picture you see first red?", "unclear_place"),
    ("Is the first page red?", "unclear_place"),
    ("Is view 2 red?", "unclear_name"),
    ("Is page 2 red?", "unclear_name"),
    ("Is the B image red?", "unclear_name"),
    ("Are A and B images alike?", "unclear_name"),
    ("Is the image labelled B red?", "unclear_name"),
    ("Is the picture marked '3' red?", "unclear_name"),
    ("Is image (b) red?", "unclear_name"),
    ("Is picture c red?", "unclear_name"),
    ("Is #2 red?", "unclear_name"),
    ("Compare image 1 with 3.", "unclear_name"),
    ("Do image 1 and 2 match?", "unclear_name"),
    ("Do image #1 & #2 match?", "unclear_name"),
    ("What changed from image 1 to 3?", "set_of_images"),
    ("Are the two first images red?", "set_of_images"),
    ("Which of the latter two is red?", "set_of_images"),
    ("Is every second image red?", "set_of_images"),
    ("Is every other image red?", "set_of_images"),
    ("Is the second image from the left red?", "unclear_place"),
    ("Is the final image red?", "unclear_place"),
    ("What is in panel A?", "unclear_name"),
    ("Is the first frame red?", "unclear_place"),
    ("Is Figure 1.2 right?", "unclear_name"),
    ("Is Figure II right?", "unclear_name"),
    ("They show a cat, a dog and a cow respectively.", "order_has_a_meaning"),
    ("The images are shown in the given order.", "order_has_a_meaning"),
    ("These are consecutive images.", "order_has_a_meaning"),
    ("Which image shows a cat? (A) first (B) second", "option_may_name_an_image"),
    ("Which image shows a cat?\nA. 1\nB. 2", "option_may_name_an_image"),
    ("<image> shows f, <image> shows g. What is f + g?", "text_beside_an_image"),
    ("A. <image>\nB. <image>\nC. <image>\nIs it B?", "letter_may_name_an_image"),
    ("Is image A red, or is B?", "letter_may_name_an_image"),
    ("A. <image>\nA. <image>\nB. <image>\nIs it?", "two_images_with_one_label"),
    ("前两张图一样吗？", "set_of_images"),
    ("上一张图是什么？", "place_relative_to_another_image"),
    ("图甲是什么？", "unclear_name"),
    ("图1到图2有什么变化？", "set_of_images"),
    ("中间的图是什么？", "place_of_another_layout"),
    ("上图是什么？", "place_of_another_layout"),
    ("右下图是什么？", "place_of_another_layout"),
    ("第一、二张图一样吗？", "unclear_place"),
    ("第一和第二张图一样吗？", "unclear_place"),
    ("倒数第二张图是什么？", "unclear_place"),
    ("首张图是什么？", "unclear_place"),
    ("第一组图是什么？", "unclear_place"),
    ("第三个是什么？", "unclear_place"),
    ("①图是什么？", "unclear_name"),
    ("2号图是什么？", "unclear_name"),
    ("B图是什么？", "unclear_name"),
    ("甲图是什么？", "unclear_name"),
    ("图b是什么？", "unclear_name"),
    ("图2a是什么？", "unclear_name"),
    ("A. <image>\nB. <image>\nC. <image>\n选项B是什么？", "unclear_name"),
]

REFUSED_PAIRS = [
    ("Is the middle image red?", "unclear_name"),
    ("Choose the right picture.", "right_may_mean_correct"),
    ("The left image shows a cat on the right.", "side_of_or_inside_an_image"),
    ("Is the left one red?", "side_of_or_inside_an_image"),
    ("Is it so? (A) The left one is red. (B) The right one is.", "side_of_or_inside_an_image"),
    ("Which image is red? (A) left (B) right", "option_may_name_an_image"),
]


@pytest.mark.parametrize(("text", "expected"), MOVED)
def test_a_mention_follows_its_image(text: str, expected: str) -> None:
    asked = sample(text)
    assert read(asked).reason is None, read(asked)
    assert apply_order(asked, (2, 0, 1)).question == sample(expected).question


@pytest.mark.parametrize(("text", "expected"), SWAPPED)
def test_left_and_right_change_places(text: str, expected: str) -> None:
    asked = sample(text, images=2)
    assert read(asked).reason is None, read(asked)
    assert apply_order(asked, (1, 0)).question == sample(expected, images=2).question


@pytest.mark.parametrize("text", UNTOUCHED)
def test_what_is_no_mention_stays(text: str) -> None:
    asked = sample(text)
    assert read(asked).reason is None, read(asked)
    assert apply_order(asked, (2, 0, 1)).question == asked.question


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_what_cannot_be_rewritten_truthfully_is_refused(text: str, reason: str) -> None:
    assert refusal(sample(text)) == reason


@pytest.mark.parametrize(("text", "reason"), REFUSED_PAIRS)
def test_what_cannot_be_rewritten_for_two_images_is_refused(text: str, reason: str) -> None:
    assert refusal(sample(text, images=2)) == reason


def test_a_refused_sample_is_never_moved() -> None:
    asked = sample("What is in the next picture?")
    assert apply_order(asked, (0, 1, 2)).question == asked.question
    with pytest.raises(ValueError, match="place_relative_to_another_image"):
        apply_order(asked, (1, 0, 2))
    assert read(asked).text == "next picture"


# The first image, a reference, stays; the options move: image 2 is shown last.
FIXED = [
    ("Which of the latter two images is most like the first one?", None),
    ("The first image is given. Which of the latter two is like it?", None),
    ("Which is like the first image? (A) the second image (B) the third image",
     "Which is like the first image? (A) the third image (B) the second image"),
    ("Is the second image like the first one?", "Is the third image like the first one?"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FIXED)
def test_a_fixed_image_keeps_its_name(text: str, expected: str | None) -> None:
    asked = sample(text, fixed=(0,))
    assert read(asked).reason is None, read(asked)
    assert apply_order(asked, (0, 2, 1)).question == sample(expected or text).question


ANSWERS = [
    ("position", "second", "third"),
    ("position", "2nd", "3rd"),
    ("position", "Image 3", "Image 1"),
    ("position", "The First image.", "The Second image."),
    ("position", "图1", "图2"),
    ("letter", "(B)", "(C)"),
    ("letter", "c.", "a."),
    ("order", "B, C, A", "C, A, B"),
    ("order", "2-3-1", "3-1-2"),
    ("order", "1, 3, 2", "2, 1, 3"),
    ("order", "first, third, second", "second, first, third"),
    ("order", "CAB", "ABC"),
    ("order", "312", "123"),
    ("order", "[1, 2, 3]", "[2, 3, 1]"),
    ("order", "Image 1 -> Image 3 -> Image 2", "Image 2 -> Image 1 -> Image 3"),
    ("order", "1, 3, and 2", "2, 1, and 3"),
]


@pytest.mark.parametrize(("rule", "answer", "expected"), ANSWERS)
def test_the_answer_follows_in_its_own_style(rule: str, answer: str, expected: str) -> None:
    asked = sample("Which?", answer=answer, order=rule)
    assert read(asked).reason is None
    assert apply_order(asked, (2, 0, 1)).answer == expected


@pytest.mark.parametrize(
    "answer", ["B", "1", "1, 1, 2", "1, 5", "1, B", "cat, dog", "12", "AB", ""]
)
def test_an_order_that_names_no_images_is_refused(answer: str) -> None:
    assert refusal(sample("Arrange them.", answer=answer, order="order")) == "answer_names_no_slot"


@pytest.mark.timeout(20)
def test_long_answers_and_questions_are_read_in_no_time() -> None:
    for part in ("1, ", "1  ", "A ", "the first, ", "image 1 ", "1 and "):
        asked = sample(part * 500, images=2, answer=part * 500, order="order")
        assert refusal(asked) is not None


def test_rules_that_contradict_the_sample_are_refused() -> None:
    assert refusal(sample("Which?", answer="the second image")) == "answer_names_an_image"
    letters = "Which? (A) image 1 (B) image 2"
    assert refusal(sample(letters, answer="A", order="letter")) == "options_are_text_not_images"
    places = "Which is the second image?"
    assert refusal(sample(places, answer="2,1,3", order="order")) == "place_shown_or_to_recover"
