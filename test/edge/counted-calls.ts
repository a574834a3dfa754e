import { app } from '../../edge/app.ts'
import type { Bindings } from '../../edge/platform.ts'
import { type CountedBindings, countedBindings } from './counted-bindings.ts'

/** The worker as it is, with its calls to KV and Durable Objects counted: `GET /bench/calls` answers how many, by binding. */

export * from '../../edge/index.ts'

let isolate: CountedBindings | undefined

export default {
  fetch(request, env, ctx) {
    isolate ??= countedBindings(env)
    if (new URL(request.url).pathname === '/bench/calls') return Response.json(isolate.calls)
    return app.fetch(request, isolate.bindings, ctx)
  },
} satisfies ExportedHandler<Bindings>
