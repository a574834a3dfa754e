/** Fewer bytes of the secret that edge and nodes share could be guessed. */
export const minNodeSecretBytes = 32
