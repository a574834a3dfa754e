import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { convertV4MiniflareOptions, Miniflare } from 'miniflare'
import { unstable_getMiniflareWorkerOptions } from 'wrangler'
import { z } from 'zod'
import { buildConsole } from '../../console/build.ts'
import { CliFailure } from '../command/failure.ts'
import { localHost } from './port.ts'

export interface WorkerOptions {
  readonly port: number
  /** KV and Durable Objects persist here. */
  readonly stateFolder: string
  /** A module with the same classes that takes the place of wrangler.toml's `main`. */
  readonly entry?: string
  /** Variables and secrets, by binding name. */
  readonly vars: Readonly<Record<string, string>>
}

export interface LocalWorker extends AsyncDisposable {
  readonly url: string
}

/** The `[vars]` of wrangler.toml. */
const Bindings = z.record(z.string(), z.json()).default({})

const configFile = fileURLToPath(new URL('../../wrangler.toml', import.meta.url))

/** A second name of the worker's handler. Miniflare puts its workers for static assets in front of `default` alone. */
const handlerName = 'direct'

/**
 * Runs the edge worker of wrangler.toml in workerd, on this machine only and without a call home. Miniflare rather
 * than `wrangler dev`, and a socket of the worker's own rather than Miniflare's: the same runtime and bindings without
 * the proxy workers in front, each of which costs about a millisecond.
 */
export async function startWorker({ entry, port, stateFolder, vars }: WorkerOptions): Promise<LocalWorker> {
  const { workerOptions, main } = unstable_getMiniflareWorkerOptions(configFile)
  if (main === undefined) throw new CliFailure(`${configFile} names no main module`)
  const { modulesRules: _, ...worker } = workerOptions
  await buildConsole()
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      host: localHost,
      port: 0,
      cf: false,
      telemetry: { enabled: false },
      resourcePersistencePath: stateFolder,
      workers: [
        {
          ...worker,
          unsafeDirectSockets: [{ host: localHost, port, entrypoint: handlerName }],
          // The edge hands no header of a client on, so the proxy of its calls has none to take off.
          stripCfConnectingIp: false,
          bindings: { ...Bindings.parse(worker.bindings), ...vars },
          modules: [{ type: 'ESModule', path: 'worker.js', contents: await bundle(entry ?? main) }],
        },
      ],
    }),
  )
  try {
    await miniflare.ready
    return { url: `http://${localHost}:${port}`, [Symbol.asyncDispose]: () => miniflare.dispose() }
  } catch (error) {
    await miniflare.dispose()
    throw error
  }
}

/** The worker as one ES module, resolved the way wrangler does. */
async function bundle(entry: string): Promise<string> {
  const from = JSON.stringify(entry)
  const { outputFiles } = await build({
    stdin: {
      contents: `export * from ${from}; export { default, default as ${handlerName} } from ${from}`,
      resolveDir: dirname(entry),
    },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'neutral',
    target: 'es2024',
    conditions: ['workerd', 'worker', 'browser'],
    mainFields: ['browser', 'module', 'main'],
    external: ['cloudflare:*', 'node:*'],
    // A stack trace needs the map; the sources in it would make the module twice as large.
    sourcemap: 'inline',
    sourcesContent: false,
    logLevel: 'error',
  })
  const [file] = outputFiles
  if (file === undefined) throw new CliFailure(`bundling ${entry} gave no output`)
  return file.text
}
