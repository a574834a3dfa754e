import { reset } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeAll } from 'vitest'

/** All test files share one runtime, so that the worker is transformed once; each begins with empty bindings. */
beforeAll(async () => {
  await reset()
  // What the file before still had under way may have been written behind that.
  for (;;) {
    const { keys } = await env.STORE.list()
    if (keys.length === 0) break
    await Promise.all(keys.map(({ name }) => env.STORE.delete(name)))
  }
})
