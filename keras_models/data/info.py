"""Where a published set comes from, its licence as far as its page tells one, and the layout that is read.

Without NAME every dataset is listed. Nothing is downloaded: most sets ask you to accept their terms first.
"""

from __future__ import annotations

from dataclasses import dataclass

from keras_models import command
from keras_models.command import UserError, option
from keras_models.data.datasets import CLASS_NAMES, dataset_names
from keras_models.data.published import PUBLISHED

_RESEARCH = "research only, as its page says"
_NONE = "none stated: ask its authors before you use it for more than research"
SETS = {  # what it is, where it is, its licence, its layout
    "drawings": ("drawn portraits, made on the fly", "built in", "that of this project", "needs no files"),
    "folder": (
        "photos and masks of your own",
        "you",
        "yours",
        "images/, masks/ with equal stems; train.txt, val.txt, test.txt",
    ),
    "mix": ("several sets as one", "you", "those of its sets", "a .toml file that names sets, weights and splits"),
    "packed": ("what `data pack` wrote", "you", "that of the set that was packed", "pack.json, *.tar"),
    "eg1800": (
        "1,800 portraits from Flickr (Shen et al., 2016)",
        "http://xiaoyongshen.me/webpage_portrait/index.html",
        _RESEARCH,
        "images/NNNNN.jpg, masks/NNNNN.png (0 and 255), train.txt, val.txt, test.txt",
    ),
    "ccp": (
        "Clothing Co-Parsing: 1,004 street photos with labels of clothes (Yang et al., 2014); all is the person",
        "https://github.com/bearpaw/clothing-co-parsing",
        "Apache-2.0",
        "photos/NNNN.jpg, annotations/pixel-level/NNNN.mat",
    ),
    "ccp_parts": (
        "Clothing Co-Parsing as four body parts and background",
        "https://github.com/bearpaw/clothing-co-parsing",
        "Apache-2.0",
        "photos/NNNN.jpg, annotations/pixel-level/NNNN.mat",
    ),
    "atr_parts": (
        "ATR human parsing as four body parts and background (Liang et al., 2015)",
        "https://github.com/lemondan/HumanParsing-Dataset",
        _NONE,
        "JPEGImages/*.jpg, SegmentationClassAug/*.png",
    ),
    "lip": (
        "Look into Person: 50,462 photos, 20 classes (Gong et al., 2017)",
        "http://sysu-hcp.net/lip/",
        "non-commercial research and education",
        "train_images/, train_segmentations/, val_images/, val_segmentations/, in folders of their archives or not",
    ),
    "camvid": (
        "CamVid street scenes, 11 classes (Brostow et al., 2008; SegNet's labels)",
        "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
        "CC BY-NC 4.0",
        "train/images, train/labels; or train, trainannot; the same for val and test",
    ),
    "cityscapes": (
        "Cityscapes street scenes, 19 classes (Cordts et al., 2016)",
        "https://www.cityscapes-dataset.com",
        "its own: non-commercial, no redistribution; registration",
        "leftImg8bit/train/CITY/*_leftImg8bit.png, gtFine/train/CITY/*_gtFine_labelIds.png",
    ),
    "voc_person": (
        "the persons of Pascal VOC (Everingham et al., 2010)",
        "http://host.robots.ox.ac.uk/pascal/VOC/",
        "the photos are Flickr's: its terms; the masks have no licence of their own",
        "JPEGImages/, SegmentationClass/, ImageSets/Segmentation/*.txt; or images/, masks/ (255 person, 128 void)",
    ),
    "supervisely": (
        "Supervisely Person: 5,711 photos, 6,884 persons (2018)",
        "https://supervisely.com (Ecosystem: Supervisely Persons)",
        "non-commercial: research, teaching, personal experiments",
        "DATASET/img/*, DATASET/ann/*.json, as its project is downloaded",
    ),
    "baidu_people": (
        "Baidu people segmentation: about 5,400 whole bodies (Wu et al., 2014)",
        "its download has moved often; search for `clean_images` and `profiles`",
        _NONE,
        "images/NAME.jpg, profiles/NAME-profile.jpg (white is the person)",
    ),
    "penn_fudan": (
        "Penn-Fudan pedestrians: 170 photos (Wang et al., 2007)",
        "https://www.cis.upenn.edu/~jshi/ped_html/",
        _NONE,
        "PNGImages/NAME.png, PedMasks/NAME_mask.png",
    ),
    "tiktok": (
        "TikTok dancing: whole bodies (2,615 frames; or Jafarian and Park, 2021, 300 dances)",
        "https://www.kaggle.com/datasets/tapakah68/segmentation-full-body-tiktok-dancing-dataset",
        "as its page says; the videos are their makers'",
        "images/*.png, masks/*.png; or SEQUENCE/images, SEQUENCE/masks",
    ),
    "coco_person": (
        "the persons of COCO (Lin et al., 2014)",
        "https://cocodataset.org",
        "annotations CC BY 4.0; each photo has a licence of its own, named in the annotations",
        "annotations/instances_train2017.json, train2017/*.jpg; the same for val2017",
    ),
    "lfw_parts": (
        "LFW part labels: 2,927 faces with hair and skin (Kae et al., 2013)",
        "http://vis-www.cs.umass.edu/lfw/part_labels/",
        _NONE,
        "lfw_funneled/NAME/NAME_0001.jpg, parts_lfw_funneled_gt_images/*.ppm, parts_train.txt ...",
    ),
    "helen_parts": (
        "Helen with eleven face parts: 2,330 faces (Le et al., 2012; Smith et al., 2013)",
        "https://pages.cs.wisc.edu/~lizhang/projects/face-parsing/",
        _NONE,
        "images/ID.jpg, labels/ID/ID_lbl00.png to lbl10.png, exemplars.txt, tuning.txt, testing.txt",
    ),
}


@dataclass(frozen=True)
class InfoOptions:
    """The command's flags."""

    name: str | None = option(None, positional=True, metavar="NAME", help="a dataset's name (omit it to list all)")


def main(argv: list[str] | None = None) -> int:
    """The command. UserError for a name that no dataset has."""
    options = command.parse(
        InfoOptions,
        argv,
        program="python -m keras_models.data info",
        description=__doc__,
        example="python -m keras_models.data info penn_fudan",
    )
    if options.name is None:
        for name in dataset_names():
            print(f"{name:14s}{SETS[name][0] if name in SETS else 'registered by you'}")
        return 0
    if options.name not in SETS:
        raise UserError(f"Unknown dataset. Valid names: {', '.join(dataset_names())}. Received: {options.name!r}")
    what, where, licence, layout = SETS[options.name]
    classes = PUBLISHED[options.name].class_names if options.name in PUBLISHED else CLASS_NAMES
    print(f"{options.name}: {what}\n  from     {where}\n  licence  {licence}\n  layout   {layout}")
    print(f"  classes  {', '.join(classes)}")
    print(f"Check it: python -m keras_models.data check DIR --dataset {options.name}")
    return 0
