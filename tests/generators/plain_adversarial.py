"""
The adversarial networks and their training as one would write them down in Keras.

Nothing of it but the import of TensorFlow is the package's: the tests compare with it, the
benchmark is timed beside it. Layers stand, and are counted, in the order in which the paper's code
has them.
"""

import itertools

import numpy as np

from crystens_flows.generators.adversarial.library import import_keras

tf, keras = import_keras()
layers = keras.layers


def scaled(number, width):
    return max(1, round(number * width))


def counted(layer, counter):
    """Name a layer, and return it and the name of the normalisation behind it."""
    layer.name = f"block{next(counter)}"
    return layer, f"{layer.name}_norm"


def gan_discriminator(width=1.0):
    counter = itertools.count(1)

    def block(x, layer):
        layer, name = counted(layer, counter)
        return layers.LeakyReLU(negative_slope=0.2)(layers.BatchNormalization(name=name)(layer(x)))

    def conv(x, channels, kernel, strides=(1, 1, 1)):
        return block(x, layers.Conv3D(scaled(channels, width), kernel, strides=strides))

    image = keras.Input((64, 64, 4, 1))
    y = layers.Flatten()(image)
    for _ in range(3):
        y = block(y, layers.Dense(scaled(1024, width)))
    y = block(y, layers.Dense(1024))
    x = conv(image, 32, (1, 1, 1))
    x = conv(x, 32, (3, 3, 1))
    x = conv(x, 32, (3, 3, 1))
    x = conv(x, 32, (3, 3, 1))
    x = conv(x, 64, (3, 3, 1))
    x = conv(x, 64, (7, 7, 1))
    x = conv(x, 64, (7, 7, 1))
    x = conv(x, 64, (7, 7, 1))
    x = conv(x, 64, (7, 7, 1))
    x = layers.Reshape((32, 32, 1, 1))(y) + x
    y = block(y, layers.Dense(9))
    x = conv(x, 128, (5, 5, 2), (5, 5, 1))
    x = conv(x, 256, (2, 2, 2), (2, 2, 2))
    x = layers.Reshape((3, 3, 1, 1))(y) + x
    x = layers.Dropout(0.25, name="dropout")(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(1, activation="sigmoid", name="judgement")(x))


def gan_generator(width=1.0):
    counter = itertools.count(1)

    def block(x, layer):
        layer, name = counted(layer, counter)
        return layers.ReLU()(layers.BatchNormalization(name=name)(layer(x)))

    def conv(x, channels, kernel=(3, 3, 3), strides=(1, 1, 1)):
        return block(x, layers.Conv3DTranspose(scaled(channels, width), kernel, strides=strides))

    noise = keras.Input((128,))
    y = block(noise, layers.Dense(scaled(484, width)))
    y = block(y, layers.Dense(484))
    x = layers.Reshape((16, 16, 4, 1))(block(noise, layers.Dense(1024)))
    x = conv(x, 256)
    x = conv(x, 128)
    x = conv(x, 128)
    x = layers.Reshape((22, 22, 1, 1))(y) + x
    y = block(y, layers.Dense(scaled(784, width)))
    y = block(y, layers.Dense(scaled(784, width)))
    y = block(y, layers.Dense(784))
    x = conv(x, 128)
    x = conv(x, 64)
    x = conv(x, 64)
    x = layers.Reshape((28, 28, 1, 1))(y) + x
    y = block(y, layers.Dense(scaled(1024, width)))
    y = block(y, layers.Dense(1024))
    x = conv(x, 64)
    x = conv(x, 64)
    x = layers.Reshape((32, 32, 1, 1))(y) + x
    y = block(y, layers.Dense(4096))
    x = conv(x, 32, (2, 2, 2), (2, 2, 2))
    x = layers.Reshape((64, 64, 1, 1))(y) + x
    last = layers.Conv3D(1, (1, 1, 10), strides=(1, 1, 10), activation="sigmoid", name="image")
    return keras.Model(noise, last(x))


def spectral(layer):
    return layers.SpectralNormalization(layer, name=f"{layer.name}_spectral")


def wgan_block(x, layer, counter, normalization):
    layer, name = counted(layer, counter)
    if normalization == "spectral":
        layer = spectral(layer)
    norm = layers.BatchNormalization if normalization == "batch" else layers.LayerNormalization
    return layers.LeakyReLU(negative_slope=0.2)(norm(name=name)(layer(x)))


def wgan_critic(width=1.0, normalization="spectral"):
    def conv(x, channels, kernel, strides=(1, 1, 1)):
        made = layers.Conv3D(scaled(channels, width), kernel, strides=strides)
        return wgan_block(x, made, counter, "layer" if normalization == "batch" else "spectral")

    counter = itertools.count(1)
    image = keras.Input((64, 64, 4, 1))
    x = conv(image, 16, (1, 1, 1))
    x = conv(x, 16, (1, 1, 1))
    x = conv(x, 16, (3, 3, 1))
    x = conv(x, 16, (3, 3, 1))
    x = conv(x, 16, (3, 3, 1))
    x = conv(x, 16, (3, 3, 1))
    x = conv(x, 32, (7, 7, 1))
    x = conv(x, 32, (7, 7, 1))
    x = conv(x, 32, (7, 7, 1))
    x = conv(x, 64, (7, 7, 1))
    x = conv(x, 64, (5, 5, 2), (5, 5, 1))
    x = conv(x, 128, (2, 2, 2), (2, 2, 2))
    x = layers.Dropout(0.25, name="dropout")(layers.Flatten()(x))
    last = layers.Dense(1, name="judgement")
    return keras.Model(image, (last if normalization == "batch" else spectral(last))(x))


def wgan_generator(width=1.0, normalization="spectral"):
    def conv(x, channels, kernel=(3, 3, 3), strides=(1, 1, 1)):
        made = layers.Conv3DTranspose(scaled(channels, width), kernel, strides=strides)
        return wgan_block(x, made, counter, normalization)

    counter = itertools.count(1)
    noise = keras.Input((128,))
    x = wgan_block(noise, layers.Dense(1024), counter, normalization)
    x = layers.Reshape((16, 16, 4, 1))(x)
    for channels in (128, 128, 64, 64, 32, 32, 32, 32):
        x = conv(x, channels)
    x = conv(x, 32, (2, 2, 2), (2, 2, 2))
    last = layers.Conv3D(1, (1, 1, 10), strides=(1, 1, 10), activation="sigmoid", name="image")
    return keras.Model(noise, (last if normalization == "batch" else spectral(last))(x))


class PlainGan:
    """``train_on_batch`` of the discriminator, twice, and of both networks in a row."""

    def __init__(self, width, optimizers):
        self.generator, self.discriminator = gan_generator(width), gan_discriminator(width)
        self.both = keras.Sequential([self.generator, self.discriminator])
        self.both.compile(optimizers[0], "binary_crossentropy")
        self.discriminator.compile(optimizers[1], "binary_crossentropy")

    def step(self, real, noise, more_noise):
        n = len(real)
        self.discriminator.trainable = True
        first = self.discriminator.train_on_batch(real, np.ones((n, 1)))
        fake = self.generator.predict_on_batch(noise)
        second = self.discriminator.train_on_batch(fake, np.zeros((n, 1)))
        self.discriminator.trainable = False
        return first, second, self.both.train_on_batch(more_noise, np.ones((n, 1)))


class PlainWgan:
    """Gradient tapes under ``tf.function``."""

    def __init__(self, width, optimizers, normalization="spectral"):
        self.generator = wgan_generator(width, normalization)
        self.critic = wgan_critic(width, normalization)
        self.optimizers = optimizers
        for optimizer, model in zip(self.optimizers, (self.generator, self.critic), strict=True):
            optimizer.build(model.trainable_variables)

    @tf.function
    def critic_step(self, real, noise, places):
        self.generator.trainable = False
        fake = self.generator(noise, training=True)
        self.generator.trainable = True
        variables = self.critic.trainable_variables
        with tf.GradientTape() as outer:
            on_real = self.critic(real, training=True)
            on_fake = self.critic(fake, training=True)
            between = real * places + fake * (1 - places)
            with tf.GradientTape() as inner:
                inner.watch(between)
                on_between = self.critic(between, training=True)
            gradient = tf.reshape(inner.gradient(on_between, between), (len(real), -1))
            penalty = tf.reduce_mean((tf.norm(gradient, axis=1) - 1) ** 2)
            loss = tf.reduce_mean(on_fake) - tf.reduce_mean(on_real) + 10 * penalty
        self.optimizers[1].apply_gradients(
            zip(outer.gradient(loss, variables), variables, strict=True)
        )
        return loss, -tf.reduce_mean(on_real), tf.reduce_mean(on_fake), penalty

    @tf.function
    def generator_step(self, noise):
        variables = self.generator.trainable_variables
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(self.critic(self.generator(noise, training=True), training=True))
        self.optimizers[0].apply_gradients(
            zip(tape.gradient(loss, variables), variables, strict=True)
        )
        return loss
