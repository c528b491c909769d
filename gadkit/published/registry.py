"""What published data sets there are: where, how large, on which terms, and what their labels mean.

Nothing here is part of gadkit: licenses differ, so every file comes from its authors. `library`
gets, checks and converts them; `readers` understands their formats.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

KINDS = {
    "adjudicated": "somebody decided case by case, such as a platform, a regulator or an annotator",
    "proxy": "a rule or another attribute stands in for fraud",
    "injected": "a program planted the anomalies, or simulated all of the data",
}


@dataclass(frozen=True)
class File:
    """One file that its authors offer for download.

    Attributes:
        url: where.
        check: "sha256:<at least 16 hex digits>" or "git:<id of the git blob>"; None where no
            checksum is known: then the first download's is remembered and later ones must match.
        only: pattern of the entries of an archive that belong to the data set.
    """

    url: str
    check: str | None = None
    only: str = "*"

    @property
    def name(self) -> str:
        """The name it is stored under."""
        return PurePosixPath(urlsplit(self.url).path).name


@dataclass(frozen=True)
class Published:
    """A published data set.

    Attributes:
        name: of the command line and of the dataset folder.
        title: what its authors call it.
        description: what it is, in one sentence.
        nodes, edges: counts by node type and relation as its authors publish them. Readers may
            model it differently: `about.json` and the graph tell what a folder holds.
        labels: what label 1 means.
        kind: where the labels come from, one of `KINDS`.
        license: the terms that were found, and of what.
        citation: authors, title, venue and year.
        page: where its authors publish it.
        reader: key of `readers.READERS`.
        files: what to download; none where that takes a log-in or a browser.
        by_hand: then, where and what to fetch.
        has_classes: it is labelled with classes, of which one is taken for the anomaly.
    """

    name: str
    title: str
    description: str
    nodes: dict[str, int]
    edges: dict[str, int]
    labels: str
    kind: str
    license: str
    citation: str
    page: str
    reader: str
    files: tuple[File, ...] = ()
    by_hand: str = ""
    has_classes: bool = False


_CARE_GNN = "https://github.com/YingtongDou/CARE-GNN"
_CARE_GNN_PAPER = (
    "Yingtong Dou, Zhiwei Liu, Li Sun, Yutong Deng, Hao Peng, Philip S. Yu: Enhancing Graph Neural "
    "Network-based Fraud Detectors against Camouflaged Fraudsters. CIKM 2020"
)

_REVIEWS = (
    Published(
        name="yelpchi",
        title="YelpChi",
        description="Yelp reviews of hotels and restaurants in Chicago, linked where they share "
        "the user (rur), product and stars (rsr), or product and month (rtr).",
        nodes={"review": 45_954},
        edges={"rur": 49_315, "rtr": 573_616, "rsr": 3_402_743},
        labels="Yelp's own filter hides the review (6,677 of 45,954)",
        kind="proxy",
        license="Apache-2.0 (repository); the reviews themselves: research use",
        citation="Shebuti Rayana, Leman Akoglu: Collective Opinion Spam Detection: Bridging Review "
        f"Networks and Metadata. KDD 2015. As a graph: {_CARE_GNN_PAPER}",
        page=_CARE_GNN,
        reader="care_gnn_mat",
        files=(
            File(
                f"{_CARE_GNN}/raw/master/data/YelpChi.zip",
                "git:cefd1e52f05415a3426ad64bbcd136d81b81d64a",
            ),
        ),
    ),
    Published(
        name="amazon",
        title="Amazon (musical instruments)",
        description="Amazon users who reviewed musical instruments, linked where they reviewed "
        "the same product (upu), gave the same stars within a week (usu), or wrote alike (uvu).",
        nodes={"user": 11_944},
        edges={"upu": 175_608, "usu": 3_566_479, "uvu": 1_036_737},
        labels="fewer than 20 % of the votes call the user's reviews helpful, against more than "
        "80 % for 0 (821 of 8,639; the others have no label)",
        kind="proxy",
        license="Apache-2.0 (repository); the reviews themselves: research use",
        citation="Julian McAuley, Jure Leskovec: From Amateurs to Connoisseurs: Modeling the "
        "Evolution of User Expertise through Online Reviews. WWW 2013. As a graph: "
        f"{_CARE_GNN_PAPER}",
        page=_CARE_GNN,
        reader="care_gnn_mat",
        files=(
            File(
                f"{_CARE_GNN}/raw/master/data/Amazon.zip",
                "git:9f5cbfdec3269139b1d030783fc25757074be405",
            ),
        ),
    ),
)

_YANDEX = "https://github.com/yandex-research/heterophilous-graphs"
_YANDEX_FILES = f"{_YANDEX}/raw/a431395582e929d88271309716bea4fe24ce6318/data"
_YANDEX_PAPER = (
    "Oleg Platonov, Denis Kuznedelev, Michael Diskin, Artem Babenko, Liudmila Prokhorenkova: A "
    "Critical Look at the Evaluation of GNNs under Heterophily: Are We Really Making Progress? "
    "ICLR 2023"
)

_USERS = (
    Published(
        name="tolokers",
        title="Tolokers",
        description="Crowd workers, linked where they worked on the same task.",
        nodes={"worker": 11_758},
        edges={"same_task": 519_000},
        labels="the worker was banned in a project (2,566 of 11,758)",
        kind="adjudicated",
        license="MIT (repository)",
        citation=_YANDEX_PAPER,
        page=_YANDEX,
        reader="heterophilous_npz",
        files=(
            File(
                f"{_YANDEX_FILES}/tolokers.npz",
                "sha256:dacf3ac94cec53d03cd2adb5255c08b33dee1656c33ca8164a464bd9450a1667",
            ),
        ),
    ),
    Published(
        name="questions",
        title="Questions",
        description="Users of a question-answering site, linked where one answered the other.",
        nodes={"user": 48_921},
        edges={"answered": 153_540},
        labels="the rarer of two fates within a year: still active, or deleted and blocked "
        "(1,460 of 48,921)",
        kind="proxy",
        license="MIT (repository)",
        citation=_YANDEX_PAPER,
        page=_YANDEX,
        reader="heterophilous_npz",
        files=(
            File(
                f"{_YANDEX_FILES}/questions.npz",
                "sha256:757ebd772bab1475c4dd951ca9e364400c6db161656cff9d21780ee874cf3074",
            ),
        ),
    ),
)

_PYGOD = "https://github.com/pygod-team/data"
_PYGOD_FILES = f"{_PYGOD}/raw/77976df4129f5f753907beea4945bd3e21d0251f"
_BOND = (
    "Kay Liu, Yingtong Dou, Yue Zhao, Xueying Ding, Xiyang Hu, Ruitong Zhang, Kaize Ding, Canyu "
    "Chen, Hao Peng, Kai Shu, Lichao Sun, Jundong Li, George H. Chen, Zhihao Jia, Philip S. Yu: "
    "BOND: Benchmarking Unsupervised Outlier Node Detection on Static Attributed Graphs. "
    "NeurIPS 2022"
)
_SANCHEZ = (
    "Patricia Iglesias Sánchez, Emmanuel Müller, Fabian Laforet, Fabian Keller, Klemens Böhm: "
    "Statistical Selection of Congruent Subspaces for Mining Attributed Graphs. ICDM 2013"
)


def _pygod(
    file: str,
    description: str,
    size: tuple[int, int],
    labels: str,
    *,
    name: str | None = None,
    kind: str = "injected",
    check: str | None = None,
    citation: str | None = None,
) -> Published:
    """Describe one set of PyGOD's collection; size is the number of nodes and of edges."""
    return Published(
        name=name or file,
        title=f"PyGOD {file}",
        description=description,
        nodes={"node": size[0]},
        edges={"edge": size[1]},
        labels=labels,
        kind=kind,
        license="MIT (repository); terms of the original data not seen",
        citation=f"{citation}. As a benchmark: {_BOND}" if citation else _BOND,
        page=_PYGOD,
        reader="pygod_pt",
        files=(File(f"{_PYGOD_FILES}/{file}.pt.zip", check),),
    )


_PLANTED = "the node got foreign features or joined a dense clique ({} of {})"

_OUTLIERS = (
    _pygod(
        "weibo",
        "Users of a microblog, linked where they used the same hashtag.",
        (8_405, 407_963),
        "the user posted twice within seconds at least five times (868 of 8,405)",
        kind="proxy",
        check="git:71a1687cd7b9d51f815e9ea99e88ff6f12a6593a",
        citation="Tong Zhao, Chuchen Deng, Kaifeng Yu, Tianwen Jiang, Daheng Wang, Meng Jiang: "
        "Error-Bounded Graph Anomaly Loss for GNNs. CIKM 2020",
    ),
    _pygod(
        "reddit",
        "Users and subreddits, linked where a user posted in one; subreddits count as normal.",
        (10_984, 168_016),
        "the user was banned (366 of 10,984)",
        name="reddit_pygod",
        kind="adjudicated",
        citation="Srijan Kumar, Xikun Zhang, Jure Leskovec: Predicting Dynamic Embedding "
        "Trajectory in Temporal Interaction Networks. KDD 2019",
    ),
    _pygod(
        "disney",
        "Films of a shop, linked where they were bought together.",
        (124, 335),
        "students voted the film an outlier among its neighbors (6 of 124)",
        kind="adjudicated",
        citation=_SANCHEZ,
    ),
    _pygod(
        "books",
        "Books of a shop, linked where they were bought together.",
        (1_418, 3_695),
        "customers tagged the book amazonfail (28 of 1,418)",
        kind="proxy",
        citation=_SANCHEZ,
    ),
    _pygod(
        "enron",
        "E-mail addresses of a company, linked where one wrote to the other.",
        (13_533, 176_987),
        "the address sent spam (5 of 13,533)",
        kind="proxy",
        citation=_SANCHEZ,
    ),
    _pygod(
        "inj_cora",
        "Papers that cite each other, with planted outliers.",
        (2_708, 11_060),
        _PLANTED.format("138", "2,708"),
    ),
    _pygod(
        "inj_amazon",
        "Computers of a shop, linked where they were bought together, with planted outliers.",
        (13_752, 515_042),
        _PLANTED.format("694", "13,752"),
    ),
    _pygod(
        "inj_flickr",
        "Pictures, linked where they share metadata, with planted outliers.",
        (89_250, 933_804),
        _PLANTED.format("4,414", "89,250"),
        check="git:cdc7c22093ace811813277ed4f1d5a888664a696",
    ),
    *(
        _pygod(
            f"gen_{size}",
            "A generated graph of communities, with planted outliers.",
            (num_nodes, num_edges),
            _PLANTED.format(outliers, f"{num_nodes:,}"),
        )
        for size, num_nodes, num_edges, outliers in (
            ("time", 1_000, 5_746, 189),
            ("100", 100, 618, 18),
            ("500", 500, 2_662, 20),
            ("1000", 1_000, 4_936, 20),
            ("5000", 5_000, 24_938, 20),
            ("10000", 10_000, 49_614, 20),
        )
    ),
)

_ELLIPTIC = "https://data.pyg.org/datasets/elliptic"
_REV2 = "https://cs.stanford.edu/~srijan/rev2"
_REV2_PAPERS = (
    "Srijan Kumar, Francesca Spezzano, V. S. Subrahmanian, Christos Faloutsos: Edge Weight "
    "Prediction in Weighted Signed Networks. ICDM 2016. Labels: Srijan Kumar, Bryan Hooi, Disha "
    "Makhija, Mohit Kumar, Christos Faloutsos, V. S. Subrahmanian: REV2: Fraudulent User "
    "Prediction in Rating Platforms. WSDM 2018"
)
_TRUST = (
    "the platform's founder, or a user the founder trusts, rated the user as low as can be; 0 = "
    "rated as high as can be; the others have no label"
)
_AMLSIM = "https://github.com/IBM/AMLSim"


def _amlsim(name: str, file: str, patterns: str, transactions: int) -> Published:
    return Published(
        name=name,
        title=f"AMLSim sample {file}",
        description=f"Simulated transfers between bank accounts, with {patterns}.",
        nodes={"account": 20_000},
        edges={"transfer": transactions},
        labels="the account takes part in a planted laundering pattern",
        kind="injected",
        license="Apache-2.0 (repository)",
        citation="Mark Weber, Jie Chen, Toyotaro Suzumura, Aldo Pareja, Tengfei Ma, Hiroki "
        "Kanezashi, Tim Kaler, Charles E. Leiserson, Tao B. Schardl: Scalable Graph Learning for "
        "Anti-Money Laundering: A First Look. NeurIPS 2018 workshop on AI in financial services",
        page=_AMLSIM,
        reader="amlsim",
        files=(File(f"{_AMLSIM}/raw/master/sample/{file}.tgz"),),
    )


_FINANCE = (
    Published(
        name="s_ffsd",
        title="S-FFSD",
        description="Simulated card transactions with source, target, location and type.",
        nodes={
            "transaction": 77_881,
            "source": 30_346,
            "target": 886,
            "location": 296,
            "type": 166,
        },
        edges={"sends": 77_881, "receives": 77_881, "hosts": 77_881, "classifies": 77_881},
        labels="the transaction is fraud (5,256 of 29,643; the others have no label)",
        kind="injected",
        license="GPL-3.0 (repository)",
        citation="Sheng Xiang, Mingzhi Zhu, Dawei Cheng, Enxia Li, Ruihui Zhao, Yi Ouyang, Ling "
        "Chen, Yefeng Zheng: Semi-supervised Credit Card Fraud Detection via Attribute-driven "
        "Graph Representation. AAAI 2023",
        page="https://github.com/AI4Risk/antifraud",
        reader="s_ffsd",
        files=(
            File(
                "https://github.com/AI4Risk/antifraud/raw/"
                "a5aa2c75d01f7c163eb79a3d7c6af986960fceb2/data/S-FFSD.zip",
                "sha256:7dadda00a45162b6",
            ),
        ),
    ),
    Published(
        name="fdcompcn",
        title="FDCompCN",
        description="Companies listed in China in 2020 to 2023, linked by investment (invest), "
        "supply (provide) and sale.",
        nodes={"company": 5_317},
        edges={"invest": 5_686, "provide": 760, "sale": 1_043},
        labels="regulators disclosed more than three violations in financial statements (559 of "
        "5,317)",
        kind="adjudicated",
        license="none seen",
        citation="Bin Wu, Xinyu Yao, Boyan Zhang, Kuo-Ming Chao, Yinsheng Li: SplitGNN: Spectral "
        "Graph Neural Network for Fraud Detection against Heterophily. CIKM 2023",
        page="https://github.com/Split-GNN/SplitGNN",
        reader="fdcompcn",
        files=(
            File(
                "https://github.com/Split-GNN/SplitGNN/raw/"
                "32fbdb836781d5c02523844a7079425f89be8831/data/FDCompCN.zip",
                "sha256:8cf86d2f733a9283",
            ),
        ),
    ),
    Published(
        name="elliptic",
        title="Elliptic",
        description="Bitcoin transactions of 49 time steps, linked where coins flow from one to "
        "the other.",
        nodes={"transaction": 203_769},
        edges={"flows": 234_355},
        labels="sent by an entity known as illicit (4,545), against licit for 0 (42,019); the "
        "others have no label",
        kind="adjudicated",
        license="CC BY-NC-ND 4.0",
        citation="Mark Weber, Giacomo Domeniconi, Jie Chen, Daniel Karl I. Weidele, Claudio "
        "Bellei, Tom Robinson, Charles E. Leiserson: Anti-Money Laundering in Bitcoin: "
        "Experimenting with Graph Convolutional Networks for Financial Forensics. KDD 2019 "
        "workshop on anomaly detection in finance",
        page="https://www.kaggle.com/datasets/ellipticco/elliptic-data-set",
        reader="elliptic",
        files=(
            File(
                f"{_ELLIPTIC}/elliptic_txs_features.csv.zip",
                "sha256:d33d62159e64b5e889f1a7ea880227c612775b58d409598855e0c4400fa52b3e",
            ),
            File(
                f"{_ELLIPTIC}/elliptic_txs_edgelist.csv.zip",
                "sha256:a2f9f6b67a39da2d8cf87fe77b9db89571ba6d880e5dd5b5991dc45c80fa34ec",
            ),
            File(
                f"{_ELLIPTIC}/elliptic_txs_classes.csv.zip",
                "sha256:4ca957f0ceffd5dd164e255c7d5ad9ee69a6fa64ae1dd94d6f113e5ebf3b07ba",
            ),
        ),
    ),
    _amlsim("amlsim_cycle", "20K_cycle200", "200 planted cycles", 117_805),
    _amlsim("amlsim_fanin", "20K_fanin200", "200 planted fan-ins", 118_250),
    _amlsim("amlsim_both", "20K_fanin200cycle200", "200 planted fan-ins and 200 cycles", 120_558),
    Published(
        name="amlworld",
        title="AMLworld HI-Small",
        description="Simulated transfers between the bank accounts of people and companies, with "
        "laundering in eight patterns (other sizes and rates are read the same way).",
        nodes={"account": 515_088},
        edges={"transfer": 5_078_345},
        labels="the transfer is laundering (about 1 in 981)",
        kind="injected",
        license="CDLA-Sharing-1.0",
        citation="Erik Altman, Jovan Blanuša, Luc von Niederhäusern, Béni Egressy, Andreea Anghel, "
        "Kubilay Atasu: Realistic Synthetic Financial Transactions for Anti-Money Laundering "
        "Models. NeurIPS 2023",
        page="https://www.kaggle.com/datasets/ealtman2019/"
        "ibm-transactions-for-anti-money-laundering-aml",
        reader="amlworld",
        by_hand="Log in at Kaggle, or open https://ibm.box.com/v/AML-Anti-Money-Laundering-Data, "
        "and download HI-Small_Trans.csv.",
    ),
    Published(
        name="tabformer",
        title="TabFormer credit card transactions",
        description="Simulated card payments of 2,000 users over three decades.",
        nodes={"transaction": 24_386_900, "card": 6_139},
        edges={"pays": 24_386_900},
        labels="the payment is fraud (29,757 of 24,386,900)",
        kind="injected",
        license="Apache-2.0 (repository)",
        citation="Inkit Padhi, Yair Schiff, Igor Melnyk, Mattia Rigotti, Youssef Mroueh, Pierre "
        "Dognin, Jerret Ross, Ravi Nair, Erik Altman: Tabular Transformers for Modeling "
        "Multivariate Time Series. ICASSP 2021",
        page="https://github.com/IBM/TabFormer",
        reader="tabformer",
        by_hand="Open https://ibm.box.com/v/tabformer-data and download transactions.tgz, which "
        "holds card_transaction.v1.csv.",
    ),
    Published(
        name="bitcoin_otc",
        title="Bitcoin OTC",
        description="Bitcoin traders who rate how far they trust each other, from -10 to 10.",
        nodes={"user": 5_881},
        edges={"rates": 35_592},
        labels=_TRUST,
        kind="proxy",
        license="none seen",
        citation=_REV2_PAPERS,
        page=f"{_REV2}/",
        reader="bitcoin",
        files=(File(f"{_REV2}/rev2data.zip", only="*otc/*.csv"),),
    ),
    Published(
        name="bitcoin_alpha",
        title="Bitcoin Alpha",
        description="Bitcoin traders of another platform who rate each other, from -10 to 10.",
        nodes={"user": 3_783},
        edges={"rates": 24_186},
        labels=_TRUST,
        kind="proxy",
        license="none seen",
        citation=_REV2_PAPERS,
        page=f"{_REV2}/",
        reader="bitcoin",
        files=(File(f"{_REV2}/rev2data.zip", only="*alpha/*.csv"),),
    ),
    Published(
        name="rcdd",
        title="RCDD",
        description="Goods of a marketplace and six types of what is linked to them, with types "
        "named by letters.",
        nodes={"all 7 types": 13_806_619},
        edges={"all 7 relations": 157_814_864},
        labels="the platform found the item to be fake or forbidden (most items have no label)",
        kind="adjudicated",
        license="none seen",
        citation="Yijian Liu and others: Datasets and Interfaces for "
        "Benchmarking Heterogeneous Graph Neural Networks. CIKM 2023",
        page="https://tianchi.aliyun.com/dataset/144810",
        reader="rcdd",
        files=(
            File(
                "https://s3.cn-north-1.amazonaws.com.cn/dgl-data/dataset/openhgnn/AliRCD_ICDM.zip"
            ),
        ),
    ),
)

_NO_FRAUD = (
    "no fraud: the rarest of {} classes stands in for the anomaly, or the class that you name"
)
_PLANETOID = "https://github.com/kimiyoung/planetoid"
_PLANETOID_FILES = f"{_PLANETOID}/raw/af6abf468a772cc055bec88c52e4d6f51b7c37e3/data"


def _planetoid(
    name: str, title: str, topic: str, size: tuple[int, int, int], sums: dict[str, str]
) -> Published:
    """Describe a citation graph; size is the number of nodes, of edges and of classes."""
    return Published(
        name=name,
        title=title,
        description=f"Papers on {topic} that cite each other; a benchmark of classes.",
        nodes={"paper": size[0]},
        edges={"cites": size[1]},
        labels=_NO_FRAUD.format(size[2]),
        kind="proxy",
        license="none seen",
        citation="Prithviraj Sen, Galileo Namata, Mustafa Bilgic, Lise Getoor, Brian Gallagher, "
        "Tina Eliassi-Rad: Collective Classification in Network Data. AI Magazine 2008. As a "
        "benchmark: Zhilin Yang, William W. Cohen, Ruslan Salakhutdinov: Revisiting "
        "Semi-Supervised Learning with Graph Embeddings. ICML 2016",
        page=_PLANETOID,
        reader="planetoid",
        files=tuple(
            File(f"{_PLANETOID_FILES}/ind.{name}.{part}", f"sha256:{digest}")
            for part, digest in sums.items()
        ),
        has_classes=True,
    )


_CLASSES = (
    _planetoid(
        "cora",
        "Cora",
        "machine learning",
        (2_708, 5_278, 7),
        {
            "x": "23cfa55d91c6f624233f5eb7b6e3f141f1bd2b2ae39608a63cf5d084bb27baab",
            "tx": "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a",
            "allx": "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
            "y": "94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1",
            "ty": "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad",
            "ally": "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
            "graph": "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
            "test.index": "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875",
        },
    ),
    _planetoid(
        "citeseer",
        "CiteSeer",
        "computer science",
        (3_327, 4_552, 6),
        {
            "x": "d20de19150741e555de0ed037195630fc194114ebc7fd72ced62810148aa22f6",
            "tx": "539a8906a2da97628d212f2fdd668c109a8b3f0d36574b59e5d3fd5b5303da21",
            "allx": "2ac30345d95c9ec933a817ee0bdd6a5f077f8c184a20e696910192d534414668",
            "y": "8ba87e515d8e3ee3cf52f6d2c5b86aa73f11ecad825a808455209ec26cd54924",
            "ty": "55e5bd1ba1e733a04598753ad1a8d57957f4b8f89e74519f41f4f4938767e4ce",
            "ally": "f704b2d986dde6c2669934de1f3ae5696a6cf9455c0f6b2646a2d135ea0a1c95",
            "graph": "d79a4ef9d3e7169aee8946145f6b7306e35bc79bffad26346cfb94e10e9912a7",
            "test.index": "2af990671580b6b2df5d158d1038f8292e30c9cd821b5453f399659b25b723d4",
        },
    ),
    _planetoid(
        "pubmed",
        "PubMed",
        "diabetes",
        (19_717, 44_324, 3),
        {
            "x": "fbe9cb5c47200d1b7769a26e579be3b7130b556831f9d850e77c4c74f2599b33",
            "tx": "4eb5f5d0f30f26497eb0ac6ac9719d09c67e284f1ed0385c93f3ef27a671da3d",
            "allx": "508e538e2abdccdd54c4d3e9f49d638b4af7107d85845f66ddea5a5152658b7e",
            "y": "e6c807633307a07ed659249006536a147c7999c797f11a2560752990181b41b3",
            "ty": "ee2e0d4819d9fbcc403689c3bf2e49face401b605932f093bc58ab6461130fdd",
            "ally": "0c37bbe3b5014ec365e9d393cf4791925e5ed94fb194305d74f064a8d7b50f0e",
            "graph": "5b89f0036ca22909471f1e6558eb42fa06e0c730a577bde5b058b40638f81dc9",
            "test.index": "b101d421688bbaecbd82e8a18f1e282378d6830f3a37666f28ebc47f844341b5",
        },
    ),
    Published(
        name="reddit",
        title="Reddit posts",
        description="Posts, linked where the same user commented on both; a benchmark of classes.",
        nodes={"post": 232_965},
        edges={"same_user": 57_307_946},
        labels=_NO_FRAUD.format(41),
        kind="proxy",
        license="none seen",
        citation="William L. Hamilton, Rex Ying, Jure Leskovec: Inductive Representation Learning "
        "on Large Graphs. NeurIPS 2017",
        page="https://snap.stanford.edu/graphsage/",
        reader="reddit",
        files=(File("https://data.dgl.ai/dataset/reddit.zip"),),
        has_classes=True,
    ),
    Published(
        name="ogbn_mag",
        title="ogbn-mag",
        description="Papers with authors, institutions and fields of study; a benchmark of classes "
        "(the venues of the papers).",
        nodes={
            "paper": 736_389,
            "author": 1_134_649,
            "institution": 8_740,
            "field_of_study": 59_965,
        },
        edges={
            "writes": 7_145_660,
            "cites": 5_416_271,
            "has_topic": 7_505_078,
            "affiliated_with": 1_043_998,
        },
        labels=_NO_FRAUD.format(349),
        kind="proxy",
        license="ODC-BY",
        citation="Weihua Hu, Matthias Fey, Marinka Zitnik, Yuxiao Dong, Hongyu Ren, Bowen Liu, "
        "Michele Catasta, Jure Leskovec: Open Graph Benchmark: Datasets for Machine Learning on "
        "Graphs. NeurIPS 2020",
        page="https://ogb.stanford.edu/docs/nodeprop/#ogbn-mag",
        reader="ogbn_mag",
        files=(
            File(
                "https://snap.stanford.edu/ogb/data/nodeproppred/mag.zip",
                "sha256:2afe62ead87f2c301a7398796991d347db85b2d01c5442c95169372bf5a9fca4",
            ),
        ),
        has_classes=True,
    ),
)

OWN = Published(  # not published: what the user has in the import layout, labels or classes
    name="npz",
    title="a file of your own",
    description="A graph in the import layout, which data/README.md describes.",
    nodes={},
    edges={},
    labels="as in the file",
    kind="proxy",
    license="",
    citation="",
    page="",
    reader="npz",
    by_hand="It is for a file of your own.",
    has_classes=True,
)
PUBLISHED = {entry.name: entry for entry in (*_REVIEWS, *_USERS, *_OUTLIERS, *_FINANCE, *_CLASSES)}


def published(name: str) -> Published:
    """Return a data set by name, or `OWN`.

    Raises:
        ValueError: there is none; the message lists the names.
    """
    if name != OWN.name and name not in PUBLISHED:
        raise ValueError(f"no published data set {name!r}; there are {', '.join(PUBLISHED)}")
    return PUBLISHED.get(name, OWN)
