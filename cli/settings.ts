import { resolve } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { z } from 'zod'
import { BackboneSlug } from '../shared/ids.ts'

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

/** Options of the program itself, valid for every command. */
export function addGlobalOptions(program: Command): Command {
  return program
    .addOption(
      new Option('--home <folder>', 'where local state lives').env('QUARTET_HOME').default('.quartet'),
    )
    .option('--debug', 'show where an error comes from')
}

const GlobalOptions = z.object({ home: z.string().min(1), debug: z.boolean().default(false) })
const Ports = z.object({ edgePort: z.int(), nodePort: z.int() })

/** The folder that holds local state, as an absolute path. */
export function homeOf(command: Command): string {
  return resolve(GlobalOptions.parse(command.optsWithGlobals()).home)
}

export function portsOf(command: Command): z.infer<typeof Ports> {
  return Ports.parse(command.opts())
}
