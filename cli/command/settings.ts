import { resolve } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { z } from 'zod'
import { prefillWeights } from '../../model/runtime/prefill-weights.ts'
import { MatrixKind, WeightFormat } from '../../shared/backbone.ts'
import { BackboneSlug } from '../../shared/ids.ts'
import { CliFailure } from './failure.ts'

export const defaultBackbone = BackboneSlug.parse('smollm2-135m-instruct')

/** Options that several commands share, each with its environment variable. */

function parsePort(text: string): number {
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : 0
  if (port < 1 || port > 65_535) throw new InvalidArgumentError('A port is a whole number from 1 to 65535.')
  return port
}

const portOption = (name: string, { port, env, of }: { port: number; env: string; of: string }) =>
  new Option(`--${name} <port>`, `port of ${of}`).env(env).default(port).argParser(parsePort)

export const edgePortOption = () =>
  portOption('edge-port', { port: 8787, env: 'QUARTET_EDGE_PORT', of: 'the edge' })
export const nodePortOption = () =>
  portOption('node-port', { port: 8788, env: 'QUARTET_NODE_PORT', of: 'the node' })

function parseNodes(text: string): number {
  const nodes = /^[0-9]{1,2}$/.test(text) ? Number(text) : 0
  if (nodes < 1 || nodes > maxLocalNodes)
    throw new InvalidArgumentError(`Nodes are a whole number from 1 to ${maxLocalNodes}.`)
  return nodes
}

const maxLocalNodes = 16

export const nodesOption = () =>
  new Option(
    '--nodes <count>',
    'nodes of the local fleet, on ports from --node-port on; each takes about 500 MB, and 1 GB where it reads prompts in f32',
  )
    .env('QUARTET_LOCAL_NODES')
    .default(1)
    .argParser(parseNodes)

/** The option that chooses the stored form of a backbone. */
export const weightsOption = (
  about = 'how weights are stored: in 8 or 4 bits, as f32, or for GPUs as f16 or bf16',
) => new Option('--weights <format>', about).choices(WeightFormat.options).default('q8')

/** The option that says by which weights prompts are read, where results are to be a node's. */
export const prefillWeightsOption = () =>
  new Option(
    '--prefill-weights <weights>',
    'by which weights prompts are read, as at the node (default: what a node on this machine takes)',
  )
    .choices(prefillWeights)
    .env('QUARTET_PREFILL_WEIGHTS')

/** The option that names the matrices with 8 bits among weights of 4. */
export const eightBitsOption = () =>
  new Option(
    '--keep-8-bits <matrices>',
    `with --weights q4: those that keep 8 bits besides the embedding, some of ${MatrixKind.options.join(',')} (default: head)`,
  ).argParser((text): MatrixKind[] => {
    const parsed = z.array(MatrixKind).safeParse(text.split(',').map((name) => name.trim()))
    if (parsed.success) return [...new Set(parsed.data)]
    throw new InvalidArgumentError(`It is a list of ${MatrixKind.options.join(', ')}.`)
  })

/** Options of the program itself, valid for every command. */
export function addGlobalOptions(program: Command): Command {
  return program
    .addOption(
      new Option('--home <folder>', 'where local state lives').env('QUARTET_HOME').default('.quartet'),
    )
    .option('--debug', 'show where an error comes from')
}

const GlobalOptions = z.object({
  home: z.string().min(1, '--home or QUARTET_HOME is empty; name a folder'),
  debug: z.boolean().default(false),
})
const LocalFleet = z.object({ edgePort: z.int(), nodePort: z.int(), nodes: z.int() })

/** The folder that holds local state, as an absolute path. */
export function homeOf(command: Command): string {
  const options = GlobalOptions.safeParse(command.optsWithGlobals())
  if (options.success) return resolve(options.data.home)
  throw new CliFailure(options.error.issues[0]?.message ?? 'the options do not fit together')
}

export function localFleetOf(command: Command): z.infer<typeof LocalFleet> {
  return LocalFleet.parse(command.opts())
}
