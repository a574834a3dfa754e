import { reset } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeAll } from 'vitest'

/** All test files share one runtime, so that the worker is transformed once; each begins with empty bindings. */
beforeAll(async () => {
  await reset()
  // The file before may have written behind that what it still had under way.
  for (;;) {
    const { keys } = await env.STORE.list()
    if (keys.length === 0) break
    await Promise.all(keys.map(({ name }) => env.STORE.delete(name)))
  }
})
