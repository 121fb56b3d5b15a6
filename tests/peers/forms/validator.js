import { Validator } from "@cfworker/json-schema";

/** Returns a value as JSON has it: without members that are undefined. */
const plain = (data) => JSON.parse(JSON.stringify(data));

/** A validator for the library that interprets schemas: it compiles no code, so a strict page may use it. */
export default {
  isValid: (schema, data) => data !== undefined && new Validator(schema, "2020-12").validate(plain(data)).valid,
  rawValidation: () => ({ errors: [] }),
  validateFormData: () => ({ errors: [], errorSchema: {} }),
  toErrorList: () => [],
  reset() {},
};
