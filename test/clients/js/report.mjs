/** The stack under test, as test/clients/main.ts tells it. */
export const { EDGE: edge, KEY: key, ALIAS: alias, BACKBONE: backbone } = process.env

export const sea = 'Tell me about the sea.'
export const weather = 'What is the weather in Paris?'

/** Runs one use of a client and prints what came of it as a line of JSON. `use` throws where it did not work. */
export async function feature(name, use) {
  try {
    await use()
    console.log(JSON.stringify({ feature: name, ok: true }))
  } catch (thrown) {
    const message = thrown instanceof Error ? thrown.message : String(thrown)
    console.log(JSON.stringify({ feature: name, ok: false, message: message.slice(0, 400) }))
  }
}

export function check(holds, what) {
  if (!holds) throw new Error(`not so: ${what}`)
}
