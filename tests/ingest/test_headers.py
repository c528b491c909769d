from gadkit.ingest import columns
from gadkit.ingest.headers import meanings


def test_names_lose_case_and_punctuation():
    assert meanings(["User ID", "é_1", "a:b"]) == {"User ID": "userid", "é_1": "é1", "a:b": "ab"}


def test_headers_of_neo4j_say_what_they_are():
    names = ["userId:ID(User)", ":LABEL", "name:string", "tags:string[]", "at:datetime{timezone:Z}"]
    assert list(meanings(names, {"user", "userid"}).values()) == [
        "userid", "nodelabel", "name", "tags", "at",
    ]  # fmt: skip
    assert list(meanings(["x:ID(User)", "key:ID", ":ID"], {"user"}).values()) == [
        "user",
        "key",
        "id",
    ]


def test_ends_of_relationships_are_user_and_product_or_what_they_say():
    def ends(*names):
        return list(meanings(names, columns.usual_names()).values())

    assert ends(":START_ID(Person)", ":END_ID(Film)", ":TYPE") == [
        "user",
        "product",
        "relationtype",
    ]
    assert ends(":START_ID(Item)", ":END_ID(User)") == ["item", "user"]
    assert ends(":START_ID(Account)", ":END_ID(Account)") == ["source", "target"]
    assert ends(":START_ID", ":END_ID") == ["source", "target"]


def test_neo4js_label_is_no_verdict():
    roles = columns.guess_roles([":START_ID(User)", ":END_ID(Item)", ":LABEL", "rating:int"])
    assert roles == {
        "user": [":START_ID(User)"],
        "product": [":END_ID(Item)"],
        "rating": ["rating:int"],
    }


def test_what_names_of_columns_stand_in_is_left_out():
    usual = {"userid", "amount", "user", "createdat", "productid"}
    names = ["orders.user_id", "orders.amount", "user.created_at", "order.user.id"]
    read = meanings(names, usual)
    assert [*read.values()] == ["userid", "amount", "usercreatedat", "orderuserid"]
    assert meanings(["orders_user_id", "orders_amount"], usual) == {
        "orders_user_id": "userid", "orders_amount": "amount",
    }  # fmt: skip
    assert meanings(["user_id", "user_amount"], usual)["user_amount"] == "useramount"
    assert meanings(["_source.user", "_id"], usual)["_source.user"] == "user"
