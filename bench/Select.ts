/** The point select that everything which reads a credential is measured beside. */
import { credentials } from "../src/Store/Tables.ts"

export const pointSelect = `select ${credentials.selection} from credentials where user_id = $1 and id = $2`

/** As many connections as the library and the server have. */
export const poolSize = 10
