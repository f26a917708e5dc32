exports.handler = async (event) => ({ message: "hello", key: event.key });
