package kvstate_test

const childDir = "KVSTATE_TEST_CHILD"

func child(dir string) {}
