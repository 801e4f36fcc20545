"""Names of other libraries that are not public: one module a library, each naming the versions it was tested with."""
