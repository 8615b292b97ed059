// Express as the tutorials write it: Sequelize, bcryptjs, the user and the roles looked up for every request, pages by
// OFFSET with a count of everything, no tuning. Kept as short as theirs.
import { randomUUID } from "node:crypto";
import bcrypt from "bcryptjs";
import express from "express";
import jwt from "jsonwebtoken";
import { DataTypes, Sequelize } from "sequelize";

const secret = process.env.TOKEN_SECRET;
const sequelize = new Sequelize(process.env.DATABASE_URL, { logging: false });
const options = { timestamps: false, underscored: true };

const User = sequelize.define(
  "users",
  { email: DataTypes.STRING, name: DataTypes.STRING, password_hash: DataTypes.STRING },
  options,
);
const Role = sequelize.define("roles", { name: DataTypes.STRING }, options);
const RefreshToken = sequelize.define(
  "refresh_tokens",
  { token: { type: DataTypes.STRING, primaryKey: true }, user_id: DataTypes.INTEGER, expires_at: DataTypes.BIGINT },
  options,
);
const Person = sequelize.define(
  "persons",
  {
    id: { type: DataTypes.STRING, primaryKey: true },
    name: DataTypes.STRING,
    email: DataTypes.STRING,
    age: DataTypes.INTEGER,
    created_at: DataTypes.BIGINT,
    updated_at: DataTypes.BIGINT,
    version: DataTypes.BIGINT,
  },
  options,
);
User.belongsToMany(Role, { through: "user_roles", foreignKey: "user_id", otherKey: "role_id", timestamps: false });
Role.belongsToMany(User, { through: "user_roles", foreignKey: "role_id", otherKey: "user_id", timestamps: false });

const app = express();
app.use(express.json());
app.use(express.urlencoded({ extended: true }));

const sign = (user) => jwt.sign({ id: user.id }, secret, { algorithm: "HS256", expiresIn: 86400 });
const seconds = () => Math.floor(Date.now() / 1000);

const verifyToken = (req, res, next) => {
  const token = req.headers["x-access-token"] || req.headers.authorization?.split(" ")[1];
  if (!token) return res.status(403).send({ message: "No token provided!" });
  jwt.verify(token, secret, (err, decoded) => {
    if (err) return res.status(401).send({ message: "Unauthorized!" });
    req.userId = decoded.id;
    next();
  });
};

const isUser = async (req, res, next) => {
  const user = await User.findByPk(req.userId);
  const roles = await user.getRoles();
  if (!roles.length) return res.status(403).send({ message: "Require a role!" });
  req.user = user;
  req.roles = roles;
  next();
};

app.post("/auth/login", async (req, res) => {
  const user = await User.findOne({ where: { email: req.body.email } });
  if (!user) return res.status(404).send({ message: "User Not found." });
  if (!(await bcrypt.compare(req.body.password, user.password_hash))) {
    return res.status(401).send({ message: "Invalid Password!" });
  }
  const token = randomUUID();
  await RefreshToken.create({ token, user_id: user.id, expires_at: seconds() + 14 * 86400 });
  const roles = await user.getRoles();
  res.send({
    user: { id: user.id, email: user.email, roles: roles.map((role) => role.name) },
    access_token: sign(user),
    refresh_token: token,
  });
});

app.post("/auth/token", async (req, res) => {
  const found = await RefreshToken.findOne({ where: { token: req.body.refresh_token } });
  if (!found) return res.status(403).send({ message: "Refresh token is not in database!" });
  if (Number(found.expires_at) < seconds()) {
    await RefreshToken.destroy({ where: { token: found.token } });
    return res.status(403).send({ message: "Refresh token was expired." });
  }
  const user = await User.findByPk(found.user_id);
  res.send({ access_token: sign(user), refresh_token: found.token });
});

app.get("/auth/me", [verifyToken, isUser], (req, res) => {
  res.send({ id: req.user.id, email: req.user.email, name: req.user.name, roles: req.roles.map((role) => role.name) });
});

app.get("/persons", [verifyToken, isUser], async (req, res) => {
  const limit = Number(req.query.limit) || 50;
  const offset = Number(req.query.offset) || 0;
  const items = await Person.findAll({ limit, offset, order: [["id", "ASC"]] });
  res.send({ items, next_offset: offset + items.length });
});

app.listen(Number(process.env.PORT), "127.0.0.1");
