// Drives the stand-in of api.vercel.com with @vercel/sdk, and prints as JSON what came of it.
// usage: node vercel_sdk.mjs FOLDER ADDRESS TEAM PROJECT   (FOLDER holds node_modules; the token is in VERCEL_TOKEN)
import { createRequire } from "node:module";

const [folder, serverURL, teamId, idOrName] = process.argv.slice(2);
const { Vercel } = createRequire(`${folder}/`)("@vercel/sdk");
const vercel = new Vercel({ bearerToken: process.env.VERCEL_TOKEN, serverURL });
const status = (promise) => promise.then(() => "accepted", (error) => error.statusCode);

const variable = { key: "FROM_SDK", value: "1", type: "plain", target: ["production"] };
const create = { idOrName, teamId, requestBody: variable };
const created = await vercel.projects.createProjectEnv(create);
const { envs } = await vercel.projects.filterProjectEnvs({ idOrName, teamId });
const { deployments } = await vercel.deployments.getDeployments({ projectId: idOrName, teamId, limit: 5 });
const deployment = await vercel.deployments.getDeployment({ idOrUrl: deployments[0].uid, teamId });
const { projects } = await vercel.projects.getProjects({ teamId });

console.log(JSON.stringify({
  user: (await vercel.user.getAuthUser()).user.username,
  team: (await vercel.teams.getTeam({ teamId })).slug,
  projects: projects.map((project) => project.name),
  created: created.created.key,
  twice: await status(vercel.projects.createProjectEnv(create)),
  listed: envs.filter((one) => one.key === "FROM_SDK").map((one) => [one.value, one.target]),
  deployment: [deployment.readyState, deployment.target],
  withoutTeam: await status(vercel.projects.filterProjectEnvs({ idOrName })),
}));
