import { setTimeout as delay } from 'node:timers/promises'
import { Command } from 'commander'
import type { Backbone } from '../model/backbone/backbone-folder.ts'
import { type PrefillWeights, usualPrefillWeights } from '../model/runtime/prefill-weights.ts'
import type { WeightFormat } from '../shared/backbone.ts'
import { BackboneSlug } from '../shared/ids.ts'
import { CliFailure, describeFailure } from './command/failure.ts'
import { note, print } from './command/output.ts'
import {
  defaultBackbone,
  edgePortOption,
  homeOf,
  localFleetOf,
  nodePortOption,
  nodesOption,
  prefillWeightsOption,
  weightsOption,
} from './command/settings.ts'
import { adminClient } from './edge/admin-client.ts'
import { Ballast } from './local/ballast.ts'
import { type DemoTenant, demoTenants } from './local/demo.ts'
import { demoAdapters } from './local/demo-adapters.ts'
import { assertDiskSpace } from './local/disk-space.ts'
import { type Home, homeAt, makeHome } from './local/home.ts'
import { lockHome } from './local/home-lock.ts'
import { obtainBackbone } from './local/local-backbone.ts'
import { type LocalState, readLocalState, writeLocalState } from './local/local-state.ts'
import { assertPortFree } from './local/port.ts'
import { ensureLocalSecrets, type LocalSecrets } from './local/secrets.ts'
import { seed } from './local/seed.ts'
import { compareDemos, comparisonLines, type DemoAnswers } from './local/showcase.ts'
import { type LocalNode, type LocalStack, startStack } from './local/stack.ts'
import { stopRequest } from './local/stop-request.ts'
import { curlLine, shellQuote } from './local/try-it.ts'

export function startCommand(): Command {
  return new Command('start')
    .description('run the whole product on this machine, with demo tenants')
    .addOption(edgePortOption())
    .addOption(nodePortOption())
    .addOption(nodesOption())
    .option(
      '--backbone <slug>',
      'the model to serve: one that is on this machine, or can be pulled',
      defaultBackbone,
    )
    .addOption(weightsOption('which of its forms to serve').env('QUARTET_WEIGHTS'))
    .addOption(prefillWeightsOption())
    .action(async ({ backbone, ...form }: BackboneForm & { backbone: string }, command: Command) => {
      const slug = BackboneSlug.safeParse(backbone)
      if (!slug.success)
        throw new CliFailure(`--backbone: “${backbone}”: ${slug.error.issues[0]?.message}`, {
          remedy: 'quartet backbone list shows those on this machine',
        })
      await runUntilStopped(homeAt(homeOf(command)), {
        ...localFleetOf(command),
        slug: slug.data,
        ...form,
      })
    })
}

interface BackboneForm {
  readonly weights: WeightFormat
  /** What nodes on this machine take when absent. */
  readonly prefillWeights?: PrefillWeights
}

interface LocalFleet extends BackboneForm {
  readonly edgePort: number
  readonly nodePort: number
  readonly nodes: number
  /** The backbone that all nodes serve. */
  readonly slug: BackboneSlug
}

/** Runs until SIGINT, SIGTERM or SIGHUP. Throws when a part fails; nothing it started outlives it either way. */
async function runUntilStopped(
  home: Home,
  { edgePort, nodePort, nodes, prefillWeights: asked, slug, weights }: LocalFleet,
): Promise<void> {
  if (edgePort >= nodePort && edgePort < nodePort + nodes)
    throw new CliFailure(`edge and node cannot both listen on port ${edgePort}`, {
      remedy: 'choose another for one of them with --edge-port or --node-port',
    })
  if (nodePort + nodes - 1 > 65_535)
    throw new CliFailure(`${nodes} nodes from port ${nodePort} on would need ports above 65535`, {
      remedy: `choose a --node-port of at most ${65_536 - nodes}`,
    })
  await makeHome(home)
  let started: LocalStack | undefined
  using stop = stopRequest(() => started?.kill())
  try {
    await assertDiskSpace(home.folder)
    using _lock = lockHome(home)
    using _ballast = new Ballast({
      folder: home.folder,
      tell: (message) => note(`quartet: ${message}`),
    }).watch()
    await assertPortFree({ port: edgePort, flag: '--edge-port', env: 'QUARTET_EDGE_PORT' })
    for (let port = nodePort; port < nodePort + nodes; port++)
      await assertPortFree({ port, flag: '--node-port', env: 'QUARTET_NODE_PORT' })
    const secrets = await ensureLocalSecrets(home)
    const tenants = await demoTenants()
    note(`model: ${slug} in ${weights} (Ctrl-C ends it)`)
    const backbone = await obtainBackbone(slug, { weights, signal: stop.signal })
    // All parts read prompts by the same weights, and the nodes' copies share this machine's memory.
    const prefillWeights = asked ?? (await usualPrefillWeights(backbone.manifest, { copies: nodes }))
    note('demo: adapters')
    const adapters = await demoAdapters(home, { backbone, tenants, prefillWeights })
    stop.signal.throwIfAborted()
    note(`${nodes === 1 ? 'node' : `${nodes} nodes`} and edge: starting`)
    await using stack = await startStack({
      home,
      edgePort,
      nodePort,
      nodes,
      secrets,
      backbone,
      prefillWeights,
      signal: stop.signal,
      nodeEnded: ({ failure, left, node }) => {
        if (stop.signal.aborted) return
        note(`quartet: ${describeFailure(failure)}; ${left} of ${nodes} nodes go on`)
        note(`bring it back with: ${startNodeLine(home, node)}`)
      },
    })
    started = stack
    note('demo: tenants, keys and first answers')
    const ready = seedAndTry(stack, { home, secrets, backbone, tenants, adapters })
    ready.catch(() => undefined)
    const shown = await Promise.race([ready, stack.failed, stop.requested])
    if (shown !== undefined) announce(shown, { demo: tenants, nodes: stack.nodes })
    await Promise.race([stack.failed.catch(afterNotice), stop.requested])
  } catch (error) {
    if (stop.signal.aborted) return
    await assertDiskSpace(home.folder)
    throw error
  }
}

/** The command that runs the node anew, as part of the same fleet. */
const startNodeLine = ({ folder }: Home, { id, url }: LocalNode): string =>
  `npx quartet node start --home ${shellQuote(folder)} --id ${id} --port ${new URL(url).port}`

/** The edge tells its clients what happened to the node before it goes too. */
async function afterNotice(failure: unknown): Promise<never> {
  await delay(500)
  throw failure
}

interface Seeding {
  readonly home: Home
  readonly secrets: LocalSecrets
  readonly backbone: Backbone
  readonly tenants: readonly DemoTenant[]
  readonly adapters: Awaited<ReturnType<typeof demoAdapters>>
}

interface Shown {
  readonly state: LocalState
  readonly comparisons: readonly DemoAnswers[]
}

/** Registers what the demo needs, has each tenant's model and the untuned one answer once, and writes `local.json`. */
async function seedAndTry(
  { edge, nodes }: LocalStack,
  { home, secrets, backbone, tenants, adapters }: Seeding,
): Promise<Shown> {
  const previous = await readLocalState(home)
  const admin = adminClient({ edge, adminKey: secrets.adminKey })
  const seeded = await seed(admin, { home, edge, backbone, adapters, previous })
  const state = { edge, node: nodes[0].url, backbone: backbone.manifest.slug, tenants: seeded }
  const comparisons = await compareDemos(state, tenants)
  await writeLocalState(home, state)
  return { state, comparisons }
}

function announce(
  { state, comparisons }: Shown,
  { demo, nodes }: { demo: readonly DemoTenant[]; nodes: LocalStack['nodes'] },
): void {
  const { edge, tenants, backbone } = state
  print('Quartet is ready')
  print(`\n  ${edge}\n  ${edge}/docs  the API's reference\n`)
  if (nodes.length > 1) for (const { id, url } of nodes) print(`  ${id}  ${url}`)
  for (const { id, key, aliases } of tenants)
    print(`  tenant ${id}  key ${key}  models ${[...aliases, backbone].join(', ')}`)
  for (const comparison of comparisons) {
    print('')
    for (const line of comparisonLines(comparison)) print(line)
  }
  for (const { id, alias, question } of demo) {
    const key = tenants.find((tenant) => tenant.id === id)?.key
    if (key !== undefined) print(`\n${curlLine({ edge, key, model: alias, question, maxTokens: 48 })}`)
  }
  note(`\nAsk for the model ${backbone} for the untuned one. Ctrl-C stops everything.`)
}
